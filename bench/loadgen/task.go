package main

import "strconv"

// Task is one run of one load against a server that was started for it. Which fields a load reads is
// told beside it.
type Task struct {
	Load         string            `json:"load"`
	Dialect      string            `json:"dialect"`
	Port         int               `json:"port"`
	Ports        []int             `json:"ports"` // of the nodes of a cluster, among which robots are spread
	ServerPID    int               `json:"server_pid"`
	Parts        map[string][]int  `json:"parts"`   // processes of a cluster by what they are
	Seconds      float64           `json:"seconds"` // length of the measured window
	WarmUp       float64           `json:"warm_up"`
	Groups       int               `json:"groups"`
	Members      int               `json:"members"` // readers of each group
	Robots       int               `json:"robots"`  // how many robots the readers are; 0: all are different
	Senders      int               `json:"senders"`
	InFlight     int               `json:"in_flight"`
	Rate         float64           `json:"rate"` // messages a second of all senders together; 0: flat out
	Count        int               `json:"count"`
	Signals      float64           `json:"signals"` // signals a second of all robots together
	StallSeconds float64           `json:"stall_seconds"`
	Steps        []int             `json:"steps"`
	GrainUs      int64             `json:"grain_us"` // least time from one look at the sockets to the next
	Window       int               `json:"window"`
	BodyBytes    int               `json:"body_bytes"`
	Tokens       map[string]string `json:"tokens"`
	Options      map[string]string `json:"options"` // of the peer: names of queues, kinds of streams
}

// Findings are what was counted while the window was open. A run that is void counts for nothing.
type Findings struct {
	Seconds      float64              `json:"seconds"`
	ServerCPU    float64              `json:"server_cpu_s"`
	PartsCPU     map[string]float64   `json:"parts_cpu_s,omitempty"`
	GeneratorCPU float64              `json:"generator_cpu_s"`
	MachineCPU   float64              `json:"machine_cpu_s"`
	StealCPU     float64              `json:"steal_cpu_s"`
	Counts       map[string]float64   `json:"counts"`
	Histograms   map[string][][2]int  `json:"histograms"`
	Curve        []map[string]float64 `json:"curve,omitempty"`
	Behind       bool                 `json:"behind,omitempty"` // much less was delivered than was offered: not waited for
	Void         string               `json:"void,omitempty"`
}

// nodeOf returns which node of a cluster a robot connects to: the number at the end of its name tells.
func (t *Task) nodeOf(robot string) int {
	digitsAt := len(robot)
	for digitsAt > 0 && robot[digitsAt-1] >= '0' && robot[digitsAt-1] <= '9' {
		digitsAt--
	}
	number, _ := strconv.Atoi(robot[digitsAt:])
	if len(t.Ports) == 0 {
		return 0
	}
	return number % len(t.Ports)
}

// portOf returns where a robot connects to.
func (t *Task) portOf(robot string) int {
	if len(t.Ports) == 0 {
		return t.Port
	}
	return t.Ports[t.nodeOf(robot)]
}
