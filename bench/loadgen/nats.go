package main

import (
	"bytes"
	"fmt"
)

// nats speaks the NATS text protocol: core subjects, at most once, nothing answered.
type nats struct {
	task *Task
}

func newNats(task *Task) Dialect { return &nats{task} }

func (d *nats) Acks() bool         { return false }
func (d *nats) Before(*Plan) error { return nil }
func (d *nats) After(*Plan) error  { return nil }

func subjectOf(group string) string {
	return "bench." + string(bytes.ReplaceAll([]byte(group), []byte("/"), []byte("-")))
}

func (d *nats) open(robot string) (*natsWire, error) {
	conn, err := connect(d.task.portOf(robot))
	if err != nil {
		return nil, err
	}
	wire := &natsWire{conn: conn}
	options := `{"verbose":false,"pedantic":false,"headers":true,"no_responders":true,"echo":false,"lang":"go","version":"1","protocol":1}`
	return wire, wire.roundTrip("CONNECT " + options + "\r\n")
}

func (d *nats) Subscribe(robot string, groups []string) (*Conn, Wire, error) {
	wire, err := d.open(robot)
	if err != nil {
		return nil, nil, err
	}
	commands := ""
	for number, group := range groups {
		commands += fmt.Sprintf("SUB %s %d\r\n", subjectOf(group), number+1)
	}
	return wire.conn, wire, wire.roundTrip(commands)
}

func (d *nats) Publish(robot string, _ []string) (*Conn, Wire, error) {
	wire, err := d.open(robot)
	if err != nil {
		return nil, nil, err
	}
	return wire.conn, wire, nil
}

func (d *nats) Template(_, group string, body []byte) (Encoder, error) {
	return newTemplate([]byte(fmt.Sprintf("PUB %s %d\r\n%s\r\n", subjectOf(group), len(body), body)))
}

type natsWire struct {
	conn *Conn
}

// roundTrip sends commands and waits until the server has taken them.
func (w *natsWire) roundTrip(commands string) error {
	if err := w.conn.Write([]byte(commands + "PING\r\n")); err != nil {
		return err
	}
	for {
		frame, err := w.next()
		if err != nil {
			return err
		}
		if bytes.HasPrefix(frame, []byte("PONG")) {
			return nil
		}
		if err := w.Take(frame, nil); err != nil {
			return err
		}
	}
}

func (w *natsWire) next() ([]byte, error) {
	for {
		size, err := w.Size(w.conn.pending)
		if err != nil {
			return nil, err
		}
		if size > 0 {
			frame := w.conn.pending[:size]
			w.conn.pending = w.conn.pending[size:]
			return frame, nil
		}
		if err := w.conn.Fill(); err != nil {
			return nil, err
		}
	}
}

func (w *natsWire) Taped() bool    { return true }
func (w *natsWire) Skip(int) error { return nil }

func (w *natsWire) Size(stream []byte) (int, error) {
	line := bytes.IndexByte(stream, '\n') + 1
	if line == 0 {
		return 0, nil
	}
	size := line
	if stream[0] == 'M' || stream[0] == 'H' {
		size += lastNumber(stream[:line-2]) + 2
	}
	if size > len(stream) {
		return 0, nil
	}
	return size, nil
}

// lastNumber returns the decimal number at the end of a line.
func lastNumber(line []byte) int {
	number, unit := 0, 1
	for i := len(line) - 1; i >= 0 && line[i] >= '0' && line[i] <= '9'; i-- {
		number += int(line[i]-'0') * unit
		unit *= 10
	}
	return number
}

func (w *natsWire) Take(frame []byte, sink Sink) error {
	line := bytes.IndexByte(frame, '\n') + 1
	switch frame[0] {
	case 'M':
		return sink.Message(frame[line : len(frame)-2])
	case 'P':
		if frame[1] == 'I' {
			return w.conn.Write([]byte("PONG\r\n"))
		}
		return nil
	case 'I', '+':
		return nil
	}
	return fmt.Errorf("the NATS server says: %.200q", frame)
}
