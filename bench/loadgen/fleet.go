package main

import (
	"bytes"
	"fmt"
)

// Lane is what one sender sends into one group, numbered from 0.
type Lane struct {
	id      uint32
	group   string
	sender  *Sender
	encoder Encoder
	dueNs   []int64 // when each message was meant to be sent
	readers []*Reader
	signal  bool // of which only the latest counts: not answered, and some may be skipped
	skipped int
}

// Sent returns how many messages were sent.
func (l *Lane) Sent() int { return len(l.dueNs) }

// Sender is a connection that sends, in one or several lanes, and checks the answers.
type Sender struct {
	conn     *Conn
	wire     Wire
	partial  []byte
	acks     bool
	dueNs    []int64 // by id of the send
	acked    []bool
	signals  map[uint32]bool // sends that nobody waits for
	answered int
	floor    int // all sends below are answered
	latency  *Latencies
	batch    []byte
	node     int
}

// Push sends a message that was meant to be sent at a time; it leaves with Flush.
func (s *Sender) Push(lane *Lane, dueNs int64) {
	s.batch = lane.encoder.Append(s.batch, uint32(lane.Sent()), uint32(len(s.dueNs)))
	lane.dueNs = append(lane.dueNs, dueNs)
	s.dueNs = append(s.dueNs, dueNs)
	if s.acks {
		s.acked = append(s.acked, lane.signal)
		if lane.signal {
			s.answered++
			s.signals[uint32(len(s.dueNs)-1)] = true
		}
	}
}

// Flush writes what was pushed.
func (s *Sender) Flush() error {
	if len(s.batch) == 0 {
		return nil
	}
	err := s.conn.Write(s.batch)
	s.batch = s.batch[:0]
	return err
}

// Unanswered returns how many sends wait for their answer.
func (s *Sender) Unanswered() int {
	if !s.acks {
		return 0
	}
	return len(s.dueNs) - s.answered
}

// Ready takes what came.
func (s *Sender) Ready(mask uint32) error {
	chunk, err := receive(s.conn, mask)
	if err != nil || len(chunk) == 0 {
		return err
	}
	stream := chunk
	if len(s.partial) > 0 {
		s.partial = append(s.partial, chunk...)
		stream = s.partial
	}
	rest, err := takeFrames(s.wire, stream, s)
	s.partial = append(s.partial[:0], rest...)
	return err
}

// Message refuses: senders are subscribed to nothing.
func (s *Sender) Message([]byte) error { return nil }

// Acked notes an answer.
func (s *Sender) Acked(id uint32) error {
	if int(id) >= len(s.acked) {
		return fmt.Errorf("send %d was answered, and only %d were sent", id, len(s.acked))
	}
	if s.signals[id] {
		return nil // some servers answer signals, too
	}
	if s.acked[id] {
		return fmt.Errorf("send %d was answered twice", id)
	}
	s.acked[id] = true
	s.answered++
	if s.latency != nil {
		s.latency.Took(s.dueNs[id], nowNs())
	}
	for s.floor < len(s.acked) && s.acked[s.floor] {
		s.floor++
	}
	return nil
}

// AckedTo notes answers to all sends up to id.
func (s *Sender) AckedTo(id uint32) error {
	for s.floor <= int(id) {
		if err := s.Acked(uint32(s.floor)); err != nil {
			return err
		}
	}
	return nil
}

// Reader is a connection that receives its groups, and checks that every message comes once and in order.
type Reader struct {
	conn     *Conn
	wire     Wire
	fleet    *Fleet
	lanes    []int32 // messages received by lane id; nil if there is one lane only
	only     *Lane
	got      int
	partial  []byte
	follower follower
	latency  *Latencies
	node     int
	apart    *[2]Latencies // within a node, and across nodes; nil without a cluster
}

// Ready takes what came.
func (r *Reader) Ready(mask uint32) error {
	chunk, err := receive(r.conn, mask)
	if err != nil || len(chunk) == 0 {
		return err
	}
	return r.take(chunk)
}

func (r *Reader) take(chunk []byte) error {
	if r.follower.on {
		matched := r.follower.follow(chunk)
		if matched > 0 {
			if err := r.skipTo(r.follower.index); err != nil {
				return err
			}
			chunk = chunk[matched:]
			if len(chunk) == 0 {
				return nil
			}
		}
		r.partial = append(r.partial[:0], r.follower.begun()...)
		r.follower.on = false
	}
	stream := chunk
	if len(r.partial) > 0 {
		r.partial = append(r.partial, chunk...)
		stream = r.partial
	}
	rest, err := r.takeApart(stream)
	if err != nil {
		return err
	}
	r.partial = append(r.partial[:0], rest...)
	if r.follower.tape != nil && r.follower.join(r.got, r.partial) {
		r.partial = r.partial[:0]
	}
	return nil
}

// skipTo counts the messages of the tape's frames before index as received.
func (r *Reader) skipTo(index int) error {
	if index == 0 {
		return nil
	}
	return r.skip(r.follower.tape.counts[index-1])
}

func (r *Reader) skip(count int) error {
	if count <= r.got {
		return nil
	}
	if r.latency != nil {
		now := nowNs()
		for _, due := range r.only.dueNs[r.got:count] {
			r.took(r.only, due, now)
		}
	}
	skipped := count - r.got
	r.got = count
	return r.wire.Skip(skipped)
}

// took counts how long a message was on its way.
func (r *Reader) took(lane *Lane, dueNs, arrivedNs int64) {
	r.latency.Took(dueNs, arrivedNs)
	if r.apart != nil {
		across := 0
		if lane.sender.node != r.node {
			across = 1
		}
		r.apart[across].Took(dueNs, arrivedNs)
	}
}

func (r *Reader) takeApart(stream []byte) ([]byte, error) {
	tape := r.follower.tape
	for {
		size, err := r.wire.Size(stream)
		if err != nil || size == 0 {
			return stream, err
		}
		frame, before := stream[:size], r.got
		if tape != nil && r.known(frame) {
			stream = stream[size:]
			continue
		}
		if err := r.wire.Take(frame, r); err != nil {
			return stream, err
		}
		if tape != nil && r.got > before && tape.last() == before {
			tape.record(frame, r.got)
		}
		stream = stream[size:]
	}
}

// known tells whether a frame is the next on the tape; then its messages count as received.
func (r *Reader) known(frame []byte) bool {
	tape := r.follower.tape
	index, ok := tape.indexOf(r.got)
	if !ok || index == len(tape.stops) {
		return false
	}
	recorded := tape.from(tape.start(index))
	if len(recorded) < len(frame) || tape.stops[index]-tape.start(index) != int64(len(frame)) {
		return false
	}
	return bytes.Equal(recorded[:len(frame)], frame) && r.skip(tape.counts[index]) == nil
}

// Message checks a message: it must be the next one of its lane.
func (r *Reader) Message(body []byte) error {
	id, number, ok := openBody(body)
	if !ok {
		return fmt.Errorf("a message came that nobody sent: %.40q", body)
	}
	lane := r.only
	if lane == nil || lane.id != id {
		if r.lanes == nil || int(id) >= len(r.fleet.Lanes) {
			return fmt.Errorf("a message of lane %d came to a reader that is not in its group", id)
		}
		lane = r.fleet.Lanes[id]
	}
	expected := r.got
	if r.lanes != nil {
		expected = int(r.lanes[id])
		r.lanes[id]++
	}
	if lane.signal && int(number) > expected {
		lane.skipped += int(number) - expected
		r.lanes[id] = int32(number) + 1
	} else if int(number) != expected {
		return fmt.Errorf("message %d of lane %d came where %d was due: lost, doubled or out of order", number, id, expected)
	}
	if len(body) != r.fleet.bodyBytes || !bytes.Equal(body[headerBytes:], r.fleet.filling) {
		return fmt.Errorf("message %d of lane %d came with another body than was sent", number, id)
	}
	if int(number) >= lane.Sent() {
		return fmt.Errorf("message %d of lane %d came before it was sent", number, id)
	}
	r.got++
	if r.latency != nil && !lane.signal {
		r.took(lane, lane.dueNs[number], nowNs())
	}
	return nil
}

// Acked refuses: readers send nothing.
func (r *Reader) Acked(uint32) error { return nil }

// AckedTo refuses: readers send nothing.
func (r *Reader) AckedTo(uint32) error { return nil }

func receive(conn *Conn, mask uint32) ([]byte, error) {
	const writable = 4 // EPOLLOUT
	if mask&writable != 0 {
		if err := conn.Flush(); err != nil {
			return nil, err
		}
		if mask == writable {
			return nil, nil
		}
	}
	return conn.Read()
}

func takeFrames(wire Wire, stream []byte, sink Sink) ([]byte, error) {
	for {
		size, err := wire.Size(stream)
		if err != nil || size == 0 {
			return stream, err
		}
		if err := wire.Take(stream[:size], sink); err != nil {
			return stream, err
		}
		stream = stream[size:]
	}
}
