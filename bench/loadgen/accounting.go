package main

import (
	"bufio"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
	"unsafe"
)

// The kernel's own clocks of CPU time, in nanoseconds: clock_gettime(2) knows one for each process, with
// the time of all its threads, also of those that have ended.

const (
	clockMonotonic    = 1
	clockProcessCPU   = 2
	clockSchedOfOther = 2 // CPUCLOCK_SCHED
	ticksPerSecond    = 100
)

func clockNs(clock int) (int64, error) {
	var at syscall.Timespec
	_, _, errno := syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, uintptr(clock), uintptr(unsafe.Pointer(&at)), 0)
	if errno != 0 {
		return 0, errno
	}
	return at.Nano(), nil
}

// nowNs returns the monotonic clock.
func nowNs() int64 {
	return int64(time.Since(epoch))
}

var epoch = time.Now()

// processTree returns a process and all its descendants.
func processTree(pid int) []int {
	found := []int{pid}
	for i := 0; i < len(found); i++ {
		tasks, _ := os.ReadDir(fmt.Sprintf("/proc/%d/task", found[i]))
		for _, task := range tasks {
			text, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", found[i], task.Name()))
			for _, child := range strings.Fields(string(text)) {
				number, _ := strconv.Atoi(child)
				found = append(found, number)
			}
		}
	}
	return found
}

// cpuSeconds returns the CPU time of a process and its descendants.
func cpuSeconds(pid int) (float64, error) {
	sum := int64(0)
	for _, member := range processTree(pid) {
		ns, err := clockNs(^member<<3 | clockSchedOfOther)
		if err == nil {
			sum += ns
		} else if member == pid {
			return 0, fmt.Errorf("the server's process %d has gone", pid)
		}
	}
	return float64(sum) / 1e9, nil
}

// residentBytes returns the memory of a process and its descendants, shared pages counted by share (Pss).
func residentBytes(pid int) (float64, error) {
	sum := 0.0
	for _, member := range processTree(pid) {
		file, err := os.Open(fmt.Sprintf("/proc/%d/smaps_rollup", member))
		if err != nil {
			return 0, err
		}
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if fields := strings.Fields(lines.Text()); fields[0] == "Pss:" {
				kib, _ := strconv.ParseFloat(fields[1], 64)
				sum += kib * 1024
			}
		}
		file.Close()
	}
	return sum, nil
}

// reading is one look at the clocks.
type reading struct {
	at, server, generator, machine, steal float64
	parts                                 map[string]float64
}

func readClocks(task *Task) (reading, error) {
	found := reading{parts: map[string]float64{}}
	for part, pids := range task.processes() {
		for _, pid := range pids {
			used, err := cpuSeconds(pid)
			if err != nil {
				return reading{}, err
			}
			found.parts[part] += used
			found.server += used
		}
	}
	own, _ := clockNs(clockProcessCPU)
	text, _ := os.ReadFile("/proc/stat")
	fields := strings.Fields(strings.SplitN(string(text), "\n", 2)[0])
	ticks := func(indexes ...int) float64 {
		sum := 0.0
		for _, index := range indexes {
			value, _ := strconv.ParseFloat(fields[index], 64)
			sum += value
		}
		return sum / ticksPerSecond
	}
	found.at = float64(nowNs()) / 1e9
	found.generator = float64(own) / 1e9
	found.machine = ticks(1, 2, 3, 6, 7) // user, nice, system, irq, softirq: proc_stat(5)
	found.steal = ticks(8)
	return found, nil
}

// processes returns the processes of the server by what they are, which a single server leaves open.
func (t *Task) processes() map[string][]int {
	if len(t.Parts) > 0 {
		return t.Parts
	}
	return map[string][]int{"server": {t.ServerPID}}
}

// measured runs a block and returns findings that hold what was used meanwhile.
func measured(task *Task, block func() error) (*Findings, error) {
	before, err := readClocks(task)
	if err != nil {
		return nil, err
	}
	if err := block(); err != nil {
		return nil, err
	}
	after, err := readClocks(task)
	if err != nil {
		return nil, err
	}
	found := &Findings{
		Seconds:      after.at - before.at,
		ServerCPU:    after.server - before.server,
		PartsCPU:     map[string]float64{},
		GeneratorCPU: after.generator - before.generator,
		MachineCPU:   after.machine - before.machine,
		StealCPU:     after.steal - before.steal,
		Counts:       map[string]float64{},
		Histograms:   map[string][][2]int{},
	}
	for part := range task.Parts {
		found.PartsCPU[part] = after.parts[part] - before.parts[part]
	}
	return found, nil
}
