package main

import (
	"fmt"
	"sync"
)

// Fleet is everybody of one load, connected and on a loop.
type Fleet struct {
	Loop    *Loop
	Lanes   []*Lane
	Readers []*Reader
	Senders []*Sender

	bodyBytes int
	filling   []byte
}

const (
	dialAtOnce   = 32
	drainSeconds = 30
)

type dialled struct {
	conn *Conn
	wire Wire
	err  error
}

// dial connects many robots, some side by side.
func dial(robots []string, one func(robot string) (*Conn, Wire, error)) (map[string]dialled, error) {
	found := make(map[string]dialled, len(robots))
	var guard sync.Mutex
	var group sync.WaitGroup
	todo := make(chan string, len(robots))
	for _, robot := range robots {
		todo <- robot
	}
	close(todo)
	for i := 0; i < dialAtOnce; i++ {
		group.Add(1)
		go func() {
			defer group.Done()
			for robot := range todo {
				conn, wire, err := one(robot)
				guard.Lock()
				found[robot] = dialled{conn, wire, err}
				guard.Unlock()
			}
		}()
	}
	group.Wait()
	for robot, end := range found {
		if end.err != nil {
			return nil, fmt.Errorf("%s cannot connect: %w", robot, end.err)
		}
	}
	return found, nil
}

// buildFleet connects everybody of a plan. Readers in several groups are checked lane by lane.
func buildFleet(task *Task, dialect Dialect, plan *Plan) (*Fleet, error) {
	loop, err := newLoop()
	if err != nil {
		return nil, err
	}
	loop.grain = newGrain(task.GrainUs)
	fleet := &Fleet{Loop: loop, bodyBytes: task.BodyBytes, filling: filling(task.BodyBytes)}
	if err := dialect.Before(plan); err != nil {
		return nil, err
	}
	reading, readers := plan.robots(func(group GroupPlan) []string { return group.Readers })
	sending, senders := plan.robots(func(group GroupPlan) []string { return group.Senders })
	readerEnds, err := dial(readers, func(robot string) (*Conn, Wire, error) {
		return dialect.Subscribe(robot, reading[robot])
	})
	if err != nil {
		return nil, err
	}
	senderEnds, err := dial(senders, func(robot string) (*Conn, Wire, error) {
		return dialect.Publish(robot, sending[robot])
	})
	if err != nil {
		return nil, err
	}
	if err := dialect.After(plan); err != nil {
		return nil, err
	}
	byReader, bySender := map[string]*Reader{}, map[string]*Sender{}
	for _, robot := range readers {
		byReader[robot] = fleet.addReader(readerEnds[robot])
		byReader[robot].node = task.nodeOf(robot)
	}
	for _, robot := range senders {
		bySender[robot] = fleet.addSender(senderEnds[robot], dialect.Acks())
		bySender[robot].node = task.nodeOf(robot)
	}
	plan.countLanes()
	for _, group := range plan.Groups {
		if err := fleet.addLanes(dialect, plan, group, byReader, bySender); err != nil {
			return nil, err
		}
	}
	if err := fleet.attach(); err != nil {
		return nil, err
	}
	return fleet, loop.Settle()
}

// robots returns the groups of each robot of a kind, and the robots in the order of the plan.
func (p *Plan) robots(of func(GroupPlan) []string) (map[string][]string, []string) {
	groups, order := map[string][]string{}, []string{}
	for _, group := range p.Groups {
		for _, robot := range of(group) {
			if groups[robot] == nil {
				order = append(order, robot)
			} else if contains(groups[robot], group.Name) {
				continue
			}
			groups[robot] = append(groups[robot], group.Name)
		}
	}
	return groups, order
}

func contains(names []string, name string) bool {
	for _, one := range names {
		if one == name {
			return true
		}
	}
	return false
}

// countLanes finds out in how many lanes each robot receives.
func (p *Plan) countLanes() {
	p.lanesOf = map[string]int{}
	for _, group := range p.Groups {
		for _, robot := range group.Readers {
			p.lanesOf[robot] += len(group.Senders)
		}
	}
}

func (f *Fleet) addReader(end dialled) *Reader {
	reader := &Reader{conn: end.conn, wire: end.wire, fleet: f}
	f.Readers = append(f.Readers, reader)
	return reader
}

func (f *Fleet) addSender(end dialled, acks bool) *Sender {
	sender := &Sender{conn: end.conn, wire: end.wire, acks: acks, signals: map[uint32]bool{}}
	f.Senders = append(f.Senders, sender)
	return sender
}

func (f *Fleet) addLanes(dialect Dialect, plan *Plan, group GroupPlan, readers map[string]*Reader, senders map[string]*Sender) error {
	tape := &Tape{}
	for _, name := range group.Senders {
		lane := &Lane{id: uint32(len(f.Lanes)), group: group.Name, sender: senders[name]}
		encode := dialect.Template
		if group.Signals {
			lane.signal = true
			if own, ok := dialect.(Signaller); ok {
				encode = own.SignalTemplate
			}
		}
		encoder, err := encode(name, group.Name, newBody(f.bodyBytes, lane.id))
		if err != nil {
			return err
		}
		lane.encoder = encoder
		for _, robot := range group.Readers {
			reader := readers[robot]
			lane.readers = append(lane.readers, reader)
			reader.only = lane
			if plan.lanesOf[robot] > 1 {
				reader.lanes = []int32{}
			} else if reader.wire.Taped() {
				reader.follower = follower{tape: tape, on: true}
			}
		}
		f.Lanes = append(f.Lanes, lane)
	}
	return nil
}

func (f *Fleet) attach() error {
	for _, reader := range f.Readers {
		if reader.lanes != nil {
			reader.lanes = make([]int32, len(f.Lanes))
		}
		if err := reader.conn.Attach(f.Loop, reader); err != nil {
			return err
		}
		pending := reader.conn.pending
		reader.conn.pending = nil
		if len(pending) > 0 {
			if err := reader.take(pending); err != nil {
				return err
			}
		}
	}
	for _, sender := range f.Senders {
		if err := sender.conn.Attach(f.Loop, sender); err != nil {
			return err
		}
		sender.partial = append(sender.partial, sender.conn.pending...)
	}
	return nil
}

// received returns how many messages of the lane a reader has.
func (r *Reader) received(lane *Lane) int {
	if r.lanes != nil {
		return int(r.lanes[lane.id])
	}
	return r.got
}

// Delivered returns how many messages were received, by all readers together.
func (f *Fleet) Delivered() int {
	sum := 0
	for _, reader := range f.Readers {
		sum += reader.got
	}
	return sum
}

// durable returns how many messages were received, without signals.
func (f *Fleet) durable() int {
	sum := f.Delivered()
	for _, lane := range f.Lanes {
		if lane.signal {
			for _, reader := range lane.readers {
				sum -= reader.received(lane)
			}
			sum += lane.skipped
		}
	}
	return sum
}

// Sent returns how many messages were sent.
func (f *Fleet) Sent() int {
	sum := 0
	for _, lane := range f.Lanes {
		sum += lane.Sent()
	}
	return sum
}

// Answered returns how many sends were answered.
func (f *Fleet) Answered() int {
	sum := 0
	for _, sender := range f.Senders {
		sum += sender.answered
	}
	return sum
}

// Record counts latencies from here on.
func (f *Fleet) Record(deliveries, acks *Latencies, apart *[2]Latencies) {
	for _, reader := range f.Readers {
		reader.latency, reader.apart = deliveries, apart
	}
	for _, sender := range f.Senders {
		sender.latency = acks
	}
}

// Flush writes what every sender has pushed.
func (f *Fleet) Flush() error {
	for _, sender := range f.Senders {
		if err := sender.Flush(); err != nil {
			return err
		}
	}
	return nil
}

// Drain sends no more and waits for every delivery and every answer.
func (f *Fleet) Drain() error {
	f.Loop.Each = func() error { return nil }
	expected := 0
	for _, lane := range f.Lanes {
		if !lane.signal {
			expected += lane.Sent() * len(lane.readers)
		}
	}
	level := func() bool {
		for _, sender := range f.Senders {
			if sender.Unanswered() > 0 {
				return false
			}
		}
		return f.durable() == expected
	}
	err := f.Loop.RunUntil(level, drainSeconds, "the last delivery or answer")
	if err != nil {
		unanswered := 0
		for _, sender := range f.Senders {
			unanswered += sender.Unanswered()
		}
		return fmt.Errorf("%w: %d of %d deliveries and %d answers are missing", err, expected-f.durable(), expected, unanswered)
	}
	return nil
}

// KeepInFlight has every lane keep so many messages that are not answered, or not received by all its readers.
func (f *Fleet) KeepInFlight(most int) error {
	refill := func() error {
		for _, lane := range f.Lanes {
			if room := most - lane.open(); room > 0 {
				now := nowNs()
				for ; room > 0; room-- {
					lane.sender.Push(lane, now)
				}
			}
		}
		return f.Flush()
	}
	f.Loop.Each = refill
	return refill()
}

// open returns how many messages of a lane are on their way.
func (l *Lane) open() int {
	open := l.sender.Unanswered()
	for _, reader := range l.readers {
		if missing := l.Sent() - reader.received(l); missing > open {
			open = missing
		}
	}
	return open
}

// Close closes every connection.
func (f *Fleet) Close() {
	for _, reader := range f.Readers {
		reader.conn.Close()
	}
	for _, sender := range f.Senders {
		sender.conn.Close()
	}
}
