package main

import (
	"bytes"
	"fmt"
)

// textServer is what the two servers in bench/peers/ that are made of Python libraries have in common: text
// messages over WebSocket, of which the bench's own are found by their mark. Nothing is answered.
type textServer struct {
	port int
	path string
	// greet opens a session on a connection that was upgraded.
	greet func(wire *textWire) error
	// join is what a reader says to be in a group, and the beginning of the answer.
	join   func(group string) (says, answer string)
	saying func(group string, body []byte) string
}

func newWebsockets(task *Task) Dialect {
	return &textServer{
		port:   task.Port,
		path:   "/",
		greet:  func(*textWire) error { return nil },
		join:   func(group string) (string, string) { return "join " + group, "joined" },
		saying: func(group string, body []byte) string { return "send " + group + " " + string(body) },
	}
}

// newSocketIO speaks Engine.IO 4 and Socket.IO 5.
func newSocketIO(task *Task) Dialect {
	return &textServer{
		port: task.Port,
		path: "/socket.io/?EIO=4&transport=websocket",
		greet: func(wire *textWire) error {
			if err := wire.await("0{"); err != nil {
				return err
			}
			if err := wire.say("40"); err != nil {
				return err
			}
			return wire.await("40")
		},
		join: func(group string) (string, string) {
			return fmt.Sprintf(`420["join","%s"]`, group), "430"
		},
		saying: func(group string, body []byte) string {
			return fmt.Sprintf(`42["send","%s","%s"]`, group, body)
		},
	}
}

func (d *textServer) Acks() bool         { return false }
func (d *textServer) Before(*Plan) error { return nil }
func (d *textServer) After(*Plan) error  { return nil }

func (d *textServer) open() (*textWire, error) {
	conn, err := connect(d.port)
	if err != nil {
		return nil, err
	}
	if err := upgrade(conn, d.port, d.path, ""); err != nil {
		return nil, err
	}
	wire := &textWire{webSocket{conn}}
	return wire, d.greet(wire)
}

func (d *textServer) Subscribe(_ string, groups []string) (*Conn, Wire, error) {
	wire, err := d.open()
	if err != nil {
		return nil, nil, err
	}
	for _, group := range groups {
		says, answer := d.join(group)
		if err := wire.say(says); err != nil {
			return nil, nil, err
		}
		if err := wire.await(answer); err != nil {
			return nil, nil, err
		}
	}
	return wire.conn, wire, nil
}

func (d *textServer) Publish(string, []string) (*Conn, Wire, error) {
	wire, err := d.open()
	if err != nil {
		return nil, nil, err
	}
	return wire.conn, wire, nil
}

func (d *textServer) Template(_, group string, body []byte) (Encoder, error) {
	return newTemplate(clientFrame(opText, []byte(d.saying(group, body))))
}

type textWire struct {
	webSocket
}

func (w *textWire) Taped() bool    { return true }
func (w *textWire) Skip(int) error { return nil }

func (w *textWire) say(text string) error { return w.conn.Write(clientFrame(opText, []byte(text))) }

func (w *textWire) await(beginning string) error {
	payload, err := w.nextPayload()
	if err == nil && !bytes.HasPrefix(payload, []byte(beginning)) {
		err = fmt.Errorf("the server says %.200q where %q was due", payload, beginning)
	}
	return err
}

func (w *textWire) Take(frame []byte, sink Sink) error {
	payload, err := w.payload(frame)
	if err != nil || payload == nil {
		return err
	}
	if string(payload) == "2" { // a ping of Engine.IO
		return w.say("3")
	}
	at := bytes.Index(payload, []byte(mark))
	if at < 0 {
		return fmt.Errorf("the server says: %.200q", payload)
	}
	return sink.Message(bytes.TrimSuffix(payload[at:], []byte(`"]`)))
}
