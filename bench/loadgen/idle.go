package main

import (
	"fmt"
	"syscall"
)

// runIdle lets Count robots in, in rows of dialAtOnce side by side, and looks at the server while all of them
// say nothing. The first ones come before the server is weighed, so that its caches are grown.
func runIdle(task *Task, dialect Dialect) (*Findings, error) {
	const first = 128
	plan := &Plan{Owner: "owner", Window: task.Window}
	if err := dialect.Before(plan); err != nil {
		return nil, err
	}
	enter := func(from, to int) ([]*Conn, error) {
		robots := []string{}
		for number := from; number < to; number++ {
			robots = append(robots, fmt.Sprintf("r%d", number))
		}
		ends, err := dial(robots, func(robot string) (*Conn, Wire, error) { return dialect.Subscribe(robot, nil) })
		conns := []*Conn{}
		for _, end := range ends {
			conns = append(conns, end.conn)
		}
		return conns, err
	}
	early, err := enter(0, first)
	if err != nil {
		return nil, err
	}
	before, err := residentBytes(task.ServerPID)
	if err != nil {
		return nil, err
	}
	var inside []*Conn
	found, err := measured(task, func() (err error) {
		inside, err = enter(first, first+task.Count)
		return err
	})
	if err != nil {
		return nil, err
	}
	idle, err := measured(task, func() error { return sleep(task.Seconds) })
	if err != nil {
		return nil, err
	}
	after, err := residentBytes(task.ServerPID)
	if err != nil {
		return nil, err
	}
	for _, conn := range append(early, inside...) {
		if err := stillOpen(conn); err != nil {
			return nil, err
		}
		conn.Close()
	}
	found.Counts["connections"] = float64(task.Count)
	found.Counts["bytes"] = after - before
	found.Counts["idle_cpu_s"] = idle.ServerCPU
	found.Counts["idle_seconds"] = idle.Seconds
	return found, nil
}

func sleep(seconds float64) error {
	pause := syscall.NsecToTimespec(int64(seconds * 1e9))
	return syscall.Nanosleep(&pause, nil)
}

func stillOpen(conn *Conn) error {
	if err := syscall.SetNonblock(conn.fd, true); err != nil {
		return err
	}
	_, err := conn.Read()
	return err
}
