package main

import (
	"fmt"
	"syscall"
)

// groupsPlan returns groups of so many readers each and at least one sender each. The readers are all different
// robots, or Robots of them, each in several groups.
func groupsPlan(task *Task) *Plan {
	plan := &Plan{Owner: "owner", Window: task.Window}
	for group := 0; group < task.Groups; group++ {
		one := GroupPlan{Name: fmt.Sprintf("group%d", group), Senders: []string{fmt.Sprintf("s%d", group%task.Senders)}}
		for sender := group + task.Groups; sender < task.Senders; sender += task.Groups {
			one.Senders = append(one.Senders, fmt.Sprintf("s%d", sender))
		}
		for member := 0; member < task.Members; member++ {
			robot := group*task.Members + member
			if task.Robots > 0 {
				robot = (group + member) % task.Robots
			}
			one.Readers = append(one.Readers, fmt.Sprintf("r%d", robot))
		}
		plan.Groups = append(plan.Groups, one)
	}
	return plan
}

// runFanOut sends into groups of readers: at a rate, open, or flat out with a number in flight.
// Groups, Members, Senders, Rate or InFlight.
func runFanOut(task *Task, dialect Dialect) (*Findings, error) {
	fleet, err := buildFleet(task, dialect, groupsPlan(task))
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	if task.Rate > 0 {
		return fleet.atRate(task)
	}
	if err := fleet.KeepInFlight(task.InFlight); err != nil {
		return nil, err
	}
	return fleet.window(task)
}

// runDirect has pairs of robots, the first of which sends to the second. Groups (of pairs), Rate.
func runDirect(task *Task, dialect Dialect) (*Findings, error) {
	plan := &Plan{Owner: "owner", Window: task.Window}
	for pair := 0; pair < task.Groups; pair++ {
		sender, reader := fmt.Sprintf("a%d", pair), fmt.Sprintf("b%d", pair)
		plan.Groups = append(plan.Groups, GroupPlan{
			Name: "d/" + sender + "/" + reader, Senders: []string{sender}, Readers: []string{reader},
		})
	}
	fleet, err := buildFleet(task, dialect, plan)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	return fleet.atRate(task)
}

// pace is a rate at which messages fall due, in lanes in turn.
type pace struct {
	lanes []*Lane
	rate  float64
}

// atRate sends at the task's rate in all lanes.
func (f *Fleet) atRate(task *Task) (*Findings, error) {
	return f.atRates(task, pace{f.Lanes, task.Rate})
}

// atRates offers open load and measures: message i is due at start + i / rate, whatever the server does.
func (f *Fleet) atRates(task *Task, paces ...pace) (*Findings, error) {
	lag := &Histogram{}
	tickers := []*Ticker{}
	for _, one := range paces {
		lanes := one.lanes
		ticker, err := newTicker(f.Loop, one.rate, func(from, to int, dueNs func(int) int64) {
			now := nowNs()
			for number := from; number < to; number++ {
				due := dueNs(number)
				lane := lanes[number%len(lanes)]
				lane.sender.Push(lane, due)
				lag.Record(now - due)
			}
		})
		if err != nil {
			return nil, err
		}
		tickers = append(tickers, ticker)
	}
	f.Loop.Each = f.Flush
	if task.StallSeconds > 0 {
		f.Loop.Each = f.flushAndStall(task)
	}
	stop := func() error {
		for _, ticker := range tickers {
			if err := ticker.Stop(f.Loop); err != nil {
				return err
			}
		}
		return nil
	}
	found, err := f.windowWith(task, stop)
	if err != nil {
		return nil, err
	}
	found.Histograms["lag"] = lag.Sparse()
	return found, nil
}

// flushAndStall also stops the server's process in the middle of the window, for StallSeconds: what the bench
// then says of the latency shows whether it can be believed.
func (f *Fleet) flushAndStall(task *Task) func() error {
	stopNs := nowNs() + int64((task.WarmUp+task.Seconds/2)*1e9)
	resumeNs := stopNs + int64(task.StallSeconds*1e9)
	stopped, resumed := false, false
	return func() error {
		now := nowNs()
		if !stopped && now >= stopNs {
			stopped = true
			if err := syscall.Kill(task.ServerPID, syscall.SIGSTOP); err != nil {
				return err
			}
		}
		if !resumed && now >= resumeNs {
			resumed = true
			if err := syscall.Kill(task.ServerPID, syscall.SIGCONT); err != nil {
				return err
			}
		}
		return f.Flush()
	}
}

func (f *Fleet) window(task *Task) (*Findings, error) {
	return f.windowWith(task, func() error { return nil })
}

// windowWith warms up, measures, stops the load and checks that everything arrived.
func (f *Fleet) windowWith(task *Task, stop func() error) (*Findings, error) {
	if err := f.Loop.Run(task.WarmUp); err != nil {
		return nil, err
	}
	deliveries, acks := newLatencies(), newLatencies()
	apart := newApart(len(task.Ports))
	f.Record(deliveries, acks, apart)
	sent, delivered, answered, durable := f.Sent(), f.Delivered(), f.Answered(), f.durable()
	found, err := measured(task, func() error { return f.Loop.Run(task.Seconds) })
	if err != nil {
		return nil, err
	}
	found.Counts["sent"] = float64(f.Sent() - sent)
	found.Counts["durable"] = float64(f.durable() - durable)
	found.Counts["delivered"] = float64(f.Delivered() - delivered)
	found.Counts["answered"] = float64(f.Answered() - answered)
	deliveries.Close()
	acks.Close()
	if apart != nil {
		apart[0].Close()
		apart[1].Close()
	}
	if err := stop(); err != nil {
		return nil, err
	}
	if task.Rate > 0 && task.StallSeconds == 0 && found.Counts["durable"] < farBehind*f.offered(task, found) {
		found.Behind = true
	} else if err := f.Drain(); err != nil {
		return nil, err
	}
	found.Counts["checked"] = float64(f.Delivered() + f.Answered())
	found.Histograms["delivery"] = deliveries.Sparse()
	found.Histograms["ack"] = acks.Sparse()
	if apart != nil {
		found.Histograms["within"], found.Histograms["across"] = apart[0].Sparse(), apart[1].Sparse()
	}
	found.Counts["ever_sent"] = float64(f.Sent())
	return found, nil
}

// farBehind is the share of the offered load below which the rest is not waited for.
const farBehind = 0.9

// offered returns how many deliveries fell due in the window.
func (f *Fleet) offered(task *Task, found *Findings) float64 {
	readers := 1
	if task.Members > 0 {
		readers = task.Members
	}
	return task.Rate * found.Seconds * float64(readers)
}

// runSends has senders keep a number of sends unanswered each; nobody receives. Senders, InFlight.
func runSends(task *Task, dialect Dialect) (*Findings, error) {
	plan := &Plan{Owner: "owner", Window: task.Window}
	group := GroupPlan{Name: "group0"}
	for number := 0; number < task.Senders; number++ {
		group.Senders = append(group.Senders, fmt.Sprintf("s%d", number))
	}
	plan.Groups = append(plan.Groups, group)
	if !dialect.Acks() {
		return nil, fmt.Errorf("%s does not answer sends", task.Dialect)
	}
	fleet, err := buildFleet(task, dialect, plan)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	if err := fleet.KeepInFlight(task.InFlight); err != nil {
		return nil, err
	}
	return fleet.window(task)
}
