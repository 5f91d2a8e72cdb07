package main

import (
	"encoding/binary"
	"fmt"
)

// mqtt speaks MQTT 3.1.1; a group is a topic. Option "qos": at 1, a robot with a persistent session is
// subscribed and away, so that the broker has to keep what it answers for.
type mqtt struct {
	port int
	qos  byte
}

func newMqtt(task *Task) Dialect {
	dialect := &mqtt{port: task.Port}
	if task.Options["qos"] == "1" {
		dialect.qos = 1
	}
	return dialect
}

const (
	mqttConnect    = 0x10
	mqttConnAck    = 0x20
	mqttPublish    = 0x30
	mqttPubAck     = 0x40
	mqttSubscribe  = 0x82
	mqttSubAck     = 0x90
	mqttPingAnswer = 0xD0
)

func (d *mqtt) Acks() bool        { return d.qos == 1 }
func (d *mqtt) After(*Plan) error { return nil }

func (d *mqtt) Before(*Plan) error {
	if d.qos == 0 {
		return nil
	}
	wire, err := d.open("keeper", false)
	if err != nil {
		return err
	}
	defer wire.conn.Close()
	return wire.subscribe("bench/#", 1)
}

func mqttString(out []byte, text string) []byte {
	return append(append(out, byte(len(text)>>8), byte(len(text))), text...)
}

func mqttPacket(first byte, rest []byte) []byte {
	out, size := []byte{first}, len(rest)
	for size > 127 {
		out = append(out, byte(size)|0x80)
		size >>= 7
	}
	return append(append(out, byte(size)), rest...)
}

func (d *mqtt) open(robot string, clean bool) (*mqttWire, error) {
	conn, err := connect(d.port)
	if err != nil {
		return nil, err
	}
	wire := &mqttWire{conn: conn}
	flags := byte(0)
	if clean {
		flags = 2
	}
	variable := append(mqttString(nil, "MQTT"), 4, flags, 0, 0) // version 3.1.1, no keep-alive
	if err := conn.Write(mqttPacket(mqttConnect, mqttString(variable, robot))); err != nil {
		return nil, err
	}
	return wire, wire.await(mqttConnAck)
}

func (d *mqtt) Subscribe(robot string, groups []string) (*Conn, Wire, error) {
	wire, err := d.open(robot, true)
	if err != nil {
		return nil, nil, err
	}
	for _, group := range groups {
		if err := wire.subscribe(topicOf(group), 0); err != nil {
			return nil, nil, err
		}
	}
	return wire.conn, wire, nil
}

func (d *mqtt) Publish(robot string, _ []string) (*Conn, Wire, error) {
	wire, err := d.open(robot, true)
	if err != nil {
		return nil, nil, err
	}
	return wire.conn, wire, nil
}

func topicOf(group string) string { return "bench/" + group }

func (d *mqtt) Template(_, group string, body []byte) (Encoder, error) {
	variable := mqttString(nil, topicOf(group))
	place := len(variable)
	if d.qos > 0 {
		variable = append(variable, 0, 0)
	}
	packet := mqttPacket(mqttPublish|d.qos<<1, append(variable, body...))
	template, err := newTemplate(packet)
	if err != nil || d.qos == 0 {
		return template, err
	}
	return &mqttEncoder{template, place + len(packet) - len(variable) - len(body)}, nil
}

// mqttEncoder gives each send a packet identifier: 1 to 65535, and again.
type mqttEncoder struct {
	template *Template
	place    int
}

const mqttIDs = 65_535

func (e *mqttEncoder) Append(out []byte, number, id uint32) []byte {
	at := len(out) + e.place
	out = e.template.Append(out, number, id)
	binary.BigEndian.PutUint16(out[at:], uint16(id%mqttIDs+1))
	return out
}

type mqttWire struct {
	conn  *Conn
	floor uint32 // answers come in order: the next one is this send's or one shortly after it
}

func (w *mqttWire) Taped() bool    { return true }
func (w *mqttWire) Skip(int) error { return nil }

func (w *mqttWire) subscribe(topic string, qos byte) error {
	packet := mqttPacket(mqttSubscribe, append(mqttString([]byte{0, 1}, topic), qos))
	if err := w.conn.Write(packet); err != nil {
		return err
	}
	return w.await(mqttSubAck)
}

func (w *mqttWire) await(kind byte) error {
	for {
		size, err := w.Size(w.conn.pending)
		if err != nil {
			return err
		}
		if size == 0 {
			if err := w.conn.Fill(); err != nil {
				return err
			}
			continue
		}
		frame := w.conn.pending[:size]
		w.conn.pending = w.conn.pending[size:]
		if frame[0] != kind || (kind == mqttConnAck && frame[3] != 0) || frame[len(frame)-1] == 0x80 {
			return fmt.Errorf("the MQTT broker says: %x", frame)
		}
		return nil
	}
}

// mqttHead returns the length of a packet's fixed header and of the rest; 0 if it is incomplete.
func mqttHead(stream []byte) (head, rest int) {
	for i := 1; i < 5 && i < len(stream); i++ {
		rest |= int(stream[i]&0x7F) << (7 * (i - 1))
		if stream[i] < 0x80 {
			return i + 1, rest
		}
	}
	return 0, 0
}

func (w *mqttWire) Size(stream []byte) (int, error) {
	head, rest := mqttHead(stream)
	if head == 0 || len(stream) < head+rest {
		return 0, nil
	}
	return head + rest, nil
}

func (w *mqttWire) Take(frame []byte, sink Sink) error {
	head, _ := mqttHead(frame)
	rest := frame[head:]
	switch frame[0] & 0xF0 {
	case mqttPublish:
		return sink.Message(rest[2+int(binary.BigEndian.Uint16(rest)):])
	case mqttPubAck:
		packet := uint32(binary.BigEndian.Uint16(rest)) - 1
		id := w.floor + (packet+mqttIDs-w.floor%mqttIDs)%mqttIDs
		w.floor = id + 1
		return sink.Acked(id)
	case mqttPingAnswer:
		return nil
	}
	return fmt.Errorf("the MQTT broker says: %.80x", frame)
}
