package main

// Dialect is how one peer is spoken to: a protocol, and what groups are in it.
//
// Guarantees asked of it: what a subscribed robot receives on a connection is every message of its groups,
// in the order in which each sender sent them.
type Dialect interface {
	// Before makes what must exist before robots connect.
	Before(plan *Plan) error
	// Subscribe connects a robot that receives its groups. It waits, and may be called from many goroutines.
	Subscribe(robot string, groups []string) (*Conn, Wire, error)
	// Publish connects a robot that sends and receives nothing but answers.
	Publish(robot string, groups []string) (*Conn, Wire, error)
	// After makes what must exist after robots have connected.
	After(plan *Plan) error
	// Template returns how a message into a group is written; its body is given.
	Template(robot, group string, body []byte) (Encoder, error)
	// Acks tells whether sends are answered.
	Acks() bool
}

// Encoder adds the frame of a message: number counts in its lane, id on its connection.
type Encoder interface {
	Append(out []byte, number, id uint32) []byte
}

// Wire is one connection's protocol: cutting its stream into frames and taking them apart.
type Wire interface {
	// Size returns the length of the complete frame at the start of a stream, 0 if it is incomplete.
	Size(stream []byte) (int, error)
	// Take takes a frame apart and tells the sink what was in it.
	Take(frame []byte, sink Sink) error
	// Skip is told that a number of messages were received without Take, because their bytes were known.
	// False: this connection's frames must not be skipped.
	Skip(messages int) error
	// Taped tells whether all readers of a group get the same bytes.
	Taped() bool
}

// Sink takes what a connection received.
type Sink interface {
	// Message is a message's body.
	Message(body []byte) error
	// Acked answers the send with this id.
	Acked(id uint32) error
	// AckedTo answers all sends up to this id.
	AckedTo(id uint32) error
}

// Plan is who is there and who is in which group.
type Plan struct {
	Groups  []GroupPlan
	Owner   string
	Window  int
	lanesOf map[string]int
}

// GroupPlan is one group and its members.
type GroupPlan struct {
	Name    string
	Readers []string
	Senders []string
	Signals bool // what is sent are values of which only the latest counts
}

// Signaller is a dialect with a way of its own to send values of which only the latest counts.
type Signaller interface {
	SignalTemplate(robot, group string, body []byte) (Encoder, error)
}

// Registrar is a dialect whose robots must have been there once before they can be members.
type Registrar interface {
	Register(robot string) error
}
