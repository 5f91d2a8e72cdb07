// Command loadgen is the bench's load generator: one task on standard input, its findings on standard
// output, both as JSON.
//
// One thread, one epoll loop and plain sockets for every peer alike, so that what differs between two
// results is the server. It does not judge: figures and verdicts are made of its counts in bench/.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"syscall"
)

const (
	memoryLimit   = 6 << 30
	setTimerSlack = 29 // PR_SET_TIMERSLACK: sleep as long as asked, give or take a nanosecond
)

func main() {
	runtime.GOMAXPROCS(1)
	runtime.LockOSThread()
	_, _, _ = syscall.RawSyscall(syscall.SYS_PRCTL, setTimerSlack, 1, 0)
	// A pause of the generator would be counted as the server's latency.
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	var task Task
	if err := json.NewDecoder(os.Stdin).Decode(&task); err != nil {
		fmt.Fprintf(os.Stderr, "loadgen: standard input holds no task: %v\n", err)
		os.Exit(2)
	}
	found, err := run(&task)
	if err != nil {
		found = &Findings{Void: err.Error(), Counts: map[string]float64{}, Histograms: map[string][][2]int{}}
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		fmt.Fprintf(os.Stderr, "loadgen: %v\n", err)
		os.Exit(1)
	}
}

func run(task *Task) (*Findings, error) {
	load, ok := loads[task.Load]
	if !ok {
		return nil, fmt.Errorf("there is no load %q", task.Load)
	}
	speak, ok := dialects[task.Dialect]
	if !ok {
		return nil, fmt.Errorf("there is no dialect %q", task.Dialect)
	}
	return load(task, speak(task))
}

// loads are the kinds of load, by the name that tasks use.
var loads = map[string]func(*Task, Dialect) (*Findings, error){
	"fanout":  runFanOut,
	"spread":  runFanOut, // the same, its robots spread over the nodes of a cluster
	"sends":   runSends,
	"direct":  runDirect,
	"idle":    runIdle,
	"catchup": runCatchUp,
	"mixed":   runMixed,
	"growth":  runGrowth,
}

// dialects are the protocols, by the name that tasks use.
var dialects = map[string]func(*Task) Dialect{
	"imserver":   newImserver,
	"nats":       newNats,
	"jetstream":  newJetStream,
	"redis":      newRedis,
	"mqtt":       newMqtt,
	"amqp":       newAmqp,
	"centrifugo": newCentrifugo,
	"websockets": newWebsockets,
	"socketio":   newSocketIO,
}
