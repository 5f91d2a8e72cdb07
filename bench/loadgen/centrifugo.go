package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

// centrifugo speaks Centrifugo's protocol in its Protobuf form over WebSocket: commands and replies, each
// behind its length as a varint, one or several in a message. A group is a channel.
type centrifugo struct {
	port int
}

func newCentrifugo(task *Task) Dialect { return &centrifugo{task.Port} }

func (d *centrifugo) Acks() bool         { return true }
func (d *centrifugo) Before(*Plan) error { return nil }
func (d *centrifugo) After(*Plan) error  { return nil }

// Fields of Command and Reply, client.proto.
const (
	fieldID        = 1
	fieldError     = 2
	fieldPush      = 4
	fieldConnect   = 4
	fieldSubscribe = 5
	fieldPublish   = 7
	fieldPub       = 4 // of Push
	fieldData      = 4 // of Publication
)

func protoBytes(out []byte, field int, data []byte) []byte {
	out = binary.AppendUvarint(out, uint64(field<<3|2))
	return append(binary.AppendUvarint(out, uint64(len(data))), data...)
}

// wideID stands for the id as a varint of five bytes, so that all commands of a template are of one length.
var wideID = []byte{fieldID << 3, 0x80, 0x80, 0x80, 0x80, 0x00}

func command(id []byte, field int, request []byte) []byte {
	content := protoBytes(append([]byte{}, id...), field, request)
	return append(binary.AppendUvarint(nil, uint64(len(content))), content...)
}

func (d *centrifugo) open() (*centrifugoWire, error) {
	conn, err := connect(d.port)
	if err != nil {
		return nil, err
	}
	if err := upgrade(conn, d.port, "/connection/websocket", "centrifuge-protobuf"); err != nil {
		return nil, err
	}
	wire := &centrifugoWire{webSocket{conn}}
	return wire, wire.ask(fieldConnect, nil)
}

func (w *centrifugoWire) ask(field int, request []byte) error {
	if err := w.conn.Write(clientFrame(opBinary, command([]byte{fieldID << 3, 1}, field, request))); err != nil {
		return err
	}
	payload, err := w.nextPayload()
	if err != nil {
		return err
	}
	return w.takeReplies(payload, &ignore{})
}

func (d *centrifugo) Subscribe(_ string, groups []string) (*Conn, Wire, error) {
	wire, err := d.open()
	if err != nil {
		return nil, nil, err
	}
	for _, group := range groups {
		if err := wire.ask(fieldSubscribe, protoBytes(nil, 1, []byte(group))); err != nil {
			return nil, nil, err
		}
	}
	return wire.conn, wire, nil
}

func (d *centrifugo) Publish(string, []string) (*Conn, Wire, error) {
	wire, err := d.open()
	if err != nil {
		return nil, nil, err
	}
	return wire.conn, wire, nil
}

func (d *centrifugo) Template(_, group string, body []byte) (Encoder, error) {
	request := protoBytes(protoBytes(nil, 1, []byte(group)), 2, body)
	frame := clientFrame(opBinary, command(wideID, fieldPublish, request))
	template, err := newTemplate(frame)
	return &centrifugoEncoder{template, bytes.Index(frame, wideID) + 1}, err
}

type centrifugoEncoder struct {
	template *Template
	place    int
}

func (e *centrifugoEncoder) Append(out []byte, number, id uint32) []byte {
	at := len(out) + e.place
	out = e.template.Append(out, number, id)
	id++ // 0 is no id
	for i := 0; i < 4; i++ {
		out[at+i] = byte(id>>(7*i)) | 0x80
	}
	out[at+4] = byte(id >> 28)
	return out
}

type centrifugoWire struct {
	webSocket
}

// Taped: the server puts as many replies into one message as wait for a connection.
func (w *centrifugoWire) Taped() bool    { return true }
func (w *centrifugoWire) Skip(int) error { return nil }

func (w *centrifugoWire) Take(frame []byte, sink Sink) error {
	payload, err := w.payload(frame)
	if err != nil || payload == nil {
		return err
	}
	return w.takeReplies(payload, sink)
}

func (w *centrifugoWire) takeReplies(payload []byte, sink Sink) error {
	for len(payload) > 0 {
		size, width := binary.Uvarint(payload)
		if width <= 0 || uint64(len(payload)-width) < size {
			return fmt.Errorf("no reply of Centrifugo: %.80x", payload)
		}
		reply := payload[width : width+int(size)]
		payload = payload[width+int(size):]
		if size == 0 { // a ping
			if err := w.conn.Write(clientFrame(opBinary, []byte{0})); err != nil {
				return err
			}
			continue
		}
		if err := takeReply(reply, sink); err != nil {
			return err
		}
	}
	return nil
}

func takeReply(reply []byte, sink Sink) error {
	id := uint64(0)
	for rest := reply; len(rest) > 0; {
		field, value, data, next := protoField(rest)
		if next == nil {
			return fmt.Errorf("no reply of Centrifugo: %.80x", reply)
		}
		rest = next
		switch {
		case field == fieldID:
			id = value
		case field == fieldError:
			return fmt.Errorf("Centrifugo says: %q", data)
		case field == fieldPush && id == 0:
			body := protoFind(protoFind(data, fieldPub), fieldData)
			if body == nil {
				return fmt.Errorf("Centrifugo says: %.200q", data)
			}
			return sink.Message(body)
		}
	}
	if id == 0 {
		return nil
	}
	return sink.Acked(uint32(id - 1))
}

// protoField reads one field: its number, value or data, and what follows; nil if it is malformed.
func protoField(from []byte) (field int, value uint64, data, next []byte) {
	key, width := binary.Uvarint(from)
	if width <= 0 {
		return 0, 0, nil, nil
	}
	value, more := binary.Uvarint(from[width:])
	if more <= 0 {
		return 0, 0, nil, nil
	}
	next = from[width+more:]
	if key&7 == 2 {
		if uint64(len(next)) < value {
			return 0, 0, nil, nil
		}
		data, next = next[:value], next[value:]
	} else if key&7 != 0 {
		return 0, 0, nil, nil
	}
	if next == nil {
		next = []byte{}
	}
	return int(key >> 3), value, data, next
}

func protoFind(from []byte, wanted int) []byte {
	for len(from) > 0 {
		field, _, data, next := protoField(from)
		if next == nil {
			return nil
		}
		if field == wanted {
			return data
		}
		from = next
	}
	return nil
}

// ignore is a sink for answers that were waited for.
type ignore struct{}

func (*ignore) Message([]byte) error { return nil }
func (*ignore) Acked(uint32) error   { return nil }
func (*ignore) AckedTo(uint32) error { return nil }
