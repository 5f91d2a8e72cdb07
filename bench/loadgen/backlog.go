package main

import "fmt"

const backlogSeconds = 900

// runCatchUp writes a backlog of Count events while nobody reads, and then lets Members robots of one group
// connect at once and read all of it. Counted from the first connection to the last event.
func runCatchUp(task *Task, dialect Dialect) (*Findings, error) {
	plan := groupsPlan(task)
	if registrar, ok := dialect.(Registrar); ok {
		for _, robot := range plan.Groups[0].Readers {
			if err := registrar.Register(robot); err != nil {
				return nil, err
			}
		}
	}
	fleet, err := writeBacklog(task, dialect, plan)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	found, err := measured(task, func() error { return fleet.readAll(task, dialect, plan.Groups[0]) })
	if err != nil {
		return nil, err
	}
	found.Counts["delivered"] = float64(fleet.Delivered())
	found.Counts["readers"] = float64(task.Members)
	return found, nil
}

// writeBacklog connects the sender alone and has it send.
func writeBacklog(task *Task, dialect Dialect, plan *Plan) (*Fleet, error) {
	loop, err := newLoop()
	if err != nil {
		return nil, err
	}
	fleet := &Fleet{Loop: loop, bodyBytes: task.BodyBytes, filling: filling(task.BodyBytes)}
	if err := dialect.Before(plan); err != nil {
		return nil, err
	}
	group := plan.Groups[0]
	conn, wire, err := dialect.Publish(group.Senders[0], []string{group.Name})
	if err != nil {
		return nil, err
	}
	if err := dialect.After(plan); err != nil {
		return nil, err
	}
	sender := fleet.addSender(dialled{conn: conn, wire: wire}, dialect.Acks())
	if err := fleet.addLanes(dialect, plan, GroupPlan{Name: group.Name, Senders: group.Senders}, nil, map[string]*Sender{group.Senders[0]: sender}); err != nil {
		return nil, err
	}
	if err := fleet.attach(); err != nil {
		return nil, err
	}
	lane := fleet.Lanes[0]
	fleet.Loop.Each = func() error {
		for room := task.InFlight - sender.Unanswered(); room > 0 && lane.Sent() < task.Count; room-- {
			sender.Push(lane, nowNs())
		}
		return sender.Flush()
	}
	if err := fleet.Loop.Each(); err != nil {
		return nil, err
	}
	done := func() bool { return sender.answered >= task.Count }
	return fleet, fleet.Loop.RunUntil(done, backlogSeconds, "the backlog")
}

func (f *Fleet) readAll(task *Task, dialect Dialect, group GroupPlan) error {
	f.Loop.Each = func() error { return nil }
	ends, err := dial(group.Readers, func(robot string) (*Conn, Wire, error) {
		return dialect.Subscribe(robot, []string{group.Name})
	})
	if err != nil {
		return err
	}
	lane := f.Lanes[0]
	for _, robot := range group.Readers {
		reader := f.addReader(ends[robot])
		reader.only = lane
		lane.readers = append(lane.readers, reader)
		if err := reader.conn.Attach(f.Loop, reader); err != nil {
			return err
		}
		if err := reader.take(reader.conn.pending); err != nil {
			return err
		}
		reader.conn.pending = nil
	}
	all := task.Count * len(group.Readers)
	return f.Loop.RunUntil(func() bool { return f.Delivered() >= all }, backlogSeconds, "the last event")
}

// runGrowth writes one log until it has grown through every one of Steps, and at each measures what a send
// costs, with Senders of InFlight each.
func runGrowth(task *Task, dialect Dialect) (*Findings, error) {
	plan := &Plan{Owner: "owner", Window: task.Window}
	group := GroupPlan{Name: "group0"}
	for number := 0; number < task.Senders; number++ {
		group.Senders = append(group.Senders, fmt.Sprintf("s%d", number))
	}
	plan.Groups = append(plan.Groups, group)
	fleet, err := buildFleet(task, dialect, plan)
	if err != nil {
		return nil, err
	}
	defer fleet.Close()
	var found *Findings
	curve := []map[string]float64{}
	for _, step := range task.Steps {
		if err := fleet.growTo(step); err != nil {
			return nil, err
		}
		if err := fleet.KeepInFlight(task.InFlight); err != nil {
			return nil, err
		}
		found, err = fleet.window(task)
		if err != nil {
			return nil, err
		}
		curve = append(curve, map[string]float64{
			"events":          float64(step),
			"sends_per_s":     found.Counts["answered"] / found.Seconds,
			"cpu_us_per_send": found.ServerCPU / found.Counts["answered"] * 1e6,
			"generator_core":  found.GeneratorCPU / found.Seconds,
		})
	}
	found.Curve = curve
	return found, nil
}

// growTo sends until the log is about so long.
func (f *Fleet) growTo(events int) error {
	const fillingInFlight = 100
	if err := f.KeepInFlight(fillingInFlight); err != nil {
		return err
	}
	if err := f.Loop.RunUntil(func() bool { return f.Sent() >= events }, backlogSeconds, "the growth of the log"); err != nil {
		return err
	}
	return f.Drain()
}
