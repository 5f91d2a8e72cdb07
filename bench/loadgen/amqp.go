package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// amqp speaks AMQP 0-9-1 with RabbitMQ. Sends go into one durable queue of the kind that option "queue"
// names, persistent and with publisher confirms; in fan-out a group is an exchange of type fanout, and each
// reader has a queue of its own that nobody else sees.
type amqp struct {
	port  int
	queue string // "classic" or "quorum"; none: fan-out, nothing confirmed
}

const benchQueue = "bench"

func newAmqp(task *Task) Dialect { return &amqp{port: task.Port, queue: task.Options["queue"]} }

func (d *amqp) Acks() bool        { return d.queue != "" }
func (d *amqp) After(*Plan) error { return nil }

// method returns a method frame of channel 1 (or 0, for the class that opens the connection).
func method(class, number uint16, arguments []byte) []byte {
	channel := uint16(1)
	if class == amqpConnection {
		channel = 0
	}
	payload := binary.BigEndian.AppendUint16(nil, class)
	payload = binary.BigEndian.AppendUint16(payload, number)
	return amqpFrame(amqpMethod, channel, append(payload, arguments...))
}

func amqpFrame(kind byte, channel uint16, payload []byte) []byte {
	out := binary.BigEndian.AppendUint16([]byte{kind}, channel)
	out = binary.BigEndian.AppendUint32(out, uint32(len(payload)))
	return append(append(out, payload...), amqpEnd)
}

const (
	amqpMethod     = 1
	amqpHeader     = 2
	amqpEnd        = 0xCE
	amqpConnection = 10
	amqpChannel    = 20
	amqpExchange   = 40
	amqpQueue      = 50
	amqpBasic      = 60
	amqpConfirm    = 85
	amqpOverhead   = 8
)

func short(out []byte, text string) []byte { return append(append(out, byte(len(text))), text...) }

func long(out []byte, text string) []byte {
	return append(binary.BigEndian.AppendUint32(out, uint32(len(text))), text...)
}

func (d *amqp) open() (*amqpWire, error) {
	conn, err := connect(d.port)
	if err != nil {
		return nil, err
	}
	wire := &amqpWire{conn: conn}
	if err := conn.Write([]byte("AMQP\x00\x00\x09\x01")); err != nil {
		return nil, err
	}
	if _, err := wire.await(amqpConnection, 10); err != nil {
		return nil, err
	}
	startOk := short(long(short([]byte{0, 0, 0, 0}, "PLAIN"), "\x00guest\x00guest"), "en_US")
	tune, err := wire.ask(method(amqpConnection, 11, startOk), amqpConnection, 30)
	if err != nil {
		return nil, err
	}
	tuneOk := append(append([]byte{}, tune[:6]...), 0, 0) // as proposed, and no heartbeat
	if err := conn.Write(method(amqpConnection, 31, tuneOk)); err != nil {
		return nil, err
	}
	if _, err := wire.ask(method(amqpConnection, 40, append(short(short(nil, "/"), ""), 0)), amqpConnection, 41); err != nil {
		return nil, err
	}
	_, err = wire.ask(method(amqpChannel, 10, short(nil, "")), amqpChannel, 11)
	return wire, err
}

func (d *amqp) Before(plan *Plan) error {
	wire, err := d.open()
	if err != nil {
		return err
	}
	defer wire.conn.Close()
	if d.queue != "" {
		const durable = 2
		table := append(short(nil, "x-queue-type"), 'S')
		table = long(table, d.queue)
		declare := append(short([]byte{0, 0}, benchQueue), durable)
		_, err = wire.ask(method(amqpQueue, 10, long(declare, string(table))), amqpQueue, 11)
		return err
	}
	for _, group := range plan.Groups {
		declare := append(short(short([]byte{0, 0}, group.Name), "fanout"), 0)
		if _, err := wire.ask(method(amqpExchange, 10, long(declare, "")), amqpExchange, 11); err != nil {
			return err
		}
	}
	return nil
}

func (d *amqp) Subscribe(robot string, groups []string) (*Conn, Wire, error) {
	wire, err := d.open()
	if err != nil {
		return nil, nil, err
	}
	const exclusive, noAck = 4, 2
	queue := "of." + robot
	if d.queue != "" {
		consume := append(short(short([]byte{0, 0}, benchQueue), "c"), noAck)
		_, err = wire.ask(method(amqpBasic, 20, long(consume, "")), amqpBasic, 21)
		return wire.conn, wire, err
	}
	declare := append(short([]byte{0, 0}, queue), exclusive)
	if _, err := wire.ask(method(amqpQueue, 10, long(declare, "")), amqpQueue, 11); err != nil {
		return nil, nil, err
	}
	for _, group := range groups {
		bind := append(short(short(short([]byte{0, 0}, queue), group), ""), 0)
		if _, err := wire.ask(method(amqpQueue, 20, long(bind, "")), amqpQueue, 21); err != nil {
			return nil, nil, err
		}
	}
	consume := append(short(short([]byte{0, 0}, queue), "c"), noAck)
	_, err = wire.ask(method(amqpBasic, 20, long(consume, "")), amqpBasic, 21)
	return wire.conn, wire, err
}

func (d *amqp) Publish(string, []string) (*Conn, Wire, error) {
	wire, err := d.open()
	if err == nil && d.queue != "" {
		_, err = wire.ask(method(amqpConfirm, 10, []byte{0}), amqpConfirm, 11)
	}
	if err != nil {
		return nil, nil, err
	}
	return wire.conn, wire, nil
}

func (d *amqp) Template(_, group string, body []byte) (Encoder, error) {
	exchange, key, mode := group, "", byte(1)
	if d.queue != "" {
		exchange, key, mode = "", benchQueue, 2 // persistent
	}
	frames := method(amqpBasic, 40, append(short(short([]byte{0, 0}, exchange), key), 0))
	header := binary.BigEndian.AppendUint16(nil, amqpBasic)
	header = append(header, 0, 0)
	header = binary.BigEndian.AppendUint64(header, uint64(len(body)))
	const hasDeliveryMode = 1 << 12
	header = append(binary.BigEndian.AppendUint16(header, hasDeliveryMode), mode)
	frames = append(frames, amqpFrame(amqpHeader, 1, header)...)
	return newTemplate(append(frames, amqpFrame(3, 1, body)...))
}

type amqpWire struct {
	conn *Conn
}

func (w *amqpWire) Taped() bool    { return true }
func (w *amqpWire) Skip(int) error { return nil }

// ask sends a method and waits for the answer to it.
func (w *amqpWire) ask(request []byte, class, number uint16) ([]byte, error) {
	if err := w.conn.Write(request); err != nil {
		return nil, err
	}
	return w.await(class, number)
}

func (w *amqpWire) await(class, number uint16) ([]byte, error) {
	for {
		size := oneFrame(w.conn.pending)
		if size == 0 {
			if err := w.conn.Fill(); err != nil {
				return nil, err
			}
			continue
		}
		frame := w.conn.pending[:size]
		w.conn.pending = w.conn.pending[size:]
		if !isMethod(frame, class, number) {
			return nil, fmt.Errorf("RabbitMQ says: %.200q", frame)
		}
		return frame[11 : size-1], nil
	}
}

func isMethod(frame []byte, class, number uint16) bool {
	return frame[0] == amqpMethod && binary.BigEndian.Uint16(frame[7:]) == class && binary.BigEndian.Uint16(frame[9:]) == number
}

// oneFrame returns the length of the complete frame at the start of a stream, 0 if it is incomplete.
func oneFrame(stream []byte) int {
	if len(stream) < amqpOverhead {
		return 0
	}
	size := int(binary.BigEndian.Uint32(stream[3:])) + amqpOverhead
	if size > len(stream) {
		return 0
	}
	return size
}

// Size takes the three frames of a delivery (its method, header and body) for one.
func (w *amqpWire) Size(stream []byte) (int, error) {
	size := oneFrame(stream)
	if size == 0 || !isMethod(stream, amqpBasic, 60) {
		return size, nil
	}
	for i := 0; i < 2; i++ {
		next := oneFrame(stream[size:])
		if next == 0 {
			return 0, nil
		}
		size += next
	}
	return size, nil
}

func (w *amqpWire) Take(frame []byte, sink Sink) error {
	switch {
	case isMethod(frame, amqpBasic, 60):
		header := oneFrame(frame)
		body := frame[header+oneFrame(frame[header:]):]
		return sink.Message(body[7 : len(body)-1])
	case isMethod(frame, amqpBasic, 80):
		tag, multiple := binary.BigEndian.Uint64(frame[11:]), frame[19]&1 == 1
		if multiple {
			return sink.AckedTo(uint32(tag - 1))
		}
		return sink.Acked(uint32(tag - 1))
	case frame[0] == amqpOverhead: // a heartbeat
		return nil
	}
	return fmt.Errorf("RabbitMQ says: %.200q", bytes.ToValidUTF8(frame, []byte("?")))
}
