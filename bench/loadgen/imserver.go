package main

import (
	"crypto/ed25519"
	"fmt"
	"strings"
)

// imserver speaks imserver.v1.msgpack over WebSocket. Readers have `auto` on and ack every quarter of their
// window, as the SDK would; senders follow nothing.
type imserver struct {
	task   *Task
	window int
	tokens map[string]string
	// With option "cids": "random", they do not grow with time.
	randomCids bool
	key        ed25519.PrivateKey // with option "auth": "challenge", all robots prove it; their tokens enrol them
}

func newImserver(task *Task) Dialect {
	dialect := &imserver{task: task, window: task.Window, tokens: task.Tokens, randomCids: task.Options["cids"] == "random"}
	if task.Options["auth"] == "challenge" {
		_, dialect.key, _ = ed25519.GenerateKey(nil)
	}
	return dialect
}

func (d *imserver) Acks() bool { return true }

// Before registers the robots that prove a key: that is done once, long before they come online.
func (d *imserver) Before(*Plan) error {
	if d.key == nil {
		return nil
	}
	robots := []string{}
	for robot := range d.tokens {
		robots = append(robots, robot)
	}
	_, err := dial(robots, d.registered)
	return err
}

func (d *imserver) registered(robot string) (*Conn, Wire, error) {
	conn, wire, err := d.upgraded(robot)
	if err != nil {
		return nil, nil, err
	}
	defer conn.Close()
	register := packStr(packStr(packMap(nil, 5), "t"), "register")
	register = packUint(packStr(register, "id"), 1)
	register = packStr(packStr(register, "robot"), robot)
	register = packStr(packStr(register, "token"), d.tokens[robot])
	register = packBin(packStr(register, "public_key"), d.key.Public().(ed25519.PublicKey))
	_, err = wire.ask(register, "ok")
	return conn, wire, err
}

func (d *imserver) Subscribe(robot string, _ []string) (*Conn, Wire, error) {
	return d.open(robot, true)
}

func (d *imserver) Publish(robot string, _ []string) (*Conn, Wire, error) {
	return d.open(robot, false)
}

func (d *imserver) upgraded(robot string) (*Conn, *imserverWire, error) {
	port := d.task.portOf(robot)
	conn, err := connect(port)
	if err != nil {
		return nil, nil, err
	}
	wire := &imserverWire{webSocket: webSocket{conn}, convs: map[string]*position{}, every: d.window / 4}
	return conn, wire, upgrade(conn, port, "/v1/connect", "imserver.v1.msgpack")
}

func (d *imserver) open(robot string, auto bool) (*Conn, Wire, error) {
	conn, wire, err := d.upgraded(robot)
	if err != nil {
		return nil, nil, err
	}
	fields := 4
	if d.key == nil {
		fields = 5
	}
	hello := packStr(packStr(packMap(nil, fields), "t"), "hello")
	hello = packStr(packStr(hello, "robot"), robot)
	hello = packUint(packStr(hello, "window"), uint64(d.window))
	hello = packBool(packStr(hello, "auto"), auto)
	if d.key != nil {
		return conn, wire, d.prove(wire, hello, robot)
	}
	hello = packStr(packStr(hello, "token"), d.tokens[robot])
	_, err = wire.ask(hello, "welcome")
	return conn, wire, err
}

// prove opens a session by the robot's key.
func (d *imserver) prove(wire *imserverWire, hello []byte, robot string) error {
	challenge, err := wire.ask(hello, "challenge")
	if err != nil {
		return err
	}
	asked, u := map[string]string{}, &unpacker{data: challenge}
	for fields := u.mapSize(); fields > 0 && u.err == nil; fields-- {
		name := string(u.str())
		asked[name] = string(u.str())
	}
	if u.err != nil {
		return u.err
	}
	text := strings.Join([]string{"imserver.v1", asked["server"], asked["nonce"], robot, "main"}, " ")
	proof := packStr(packStr(packMap(nil, 2), "t"), "prove")
	proof = packBin(packStr(proof, "signature"), ed25519.Sign(d.key, []byte(text)))
	_, err = wire.ask(proof, "welcome")
	return err
}

// After creates the groups: their members have to be registered, which their first session does.
func (d *imserver) After(plan *Plan) error {
	conn, wire, err := d.open(plan.Owner, false)
	if err != nil {
		return err
	}
	defer conn.Close()
	members, order := map[string][]string{}, []string{}
	for _, group := range plan.Groups {
		if strings.HasPrefix(group.Name, "d/") {
			continue // a direct line exists from its first event
		}
		if members[group.Name] == nil {
			order = append(order, group.Name)
		}
		members[group.Name] = append(append(members[group.Name], group.Readers...), group.Senders...)
	}
	for _, name := range order {
		create := packStr(packStr(packMap(nil, 4), "t"), "create_group")
		create = packUint(packStr(create, "id"), 1)
		create = packStr(packStr(create, "name"), name)
		create = packStrs(packStr(create, "members"), members[name])
		if _, err := wire.(*imserverWire).ask(create, "ok"); err != nil {
			return err
		}
	}
	return nil
}

func convOf(group string) string {
	if strings.HasPrefix(group, "d/") {
		return group
	}
	return "g/" + group
}

func (d *imserver) Template(robot, group string, body []byte) (Encoder, error) {
	frame := packStr(packStr(packMap(nil, 5), "t"), "send")
	frame = packUint(packStr(frame, "id"), idMarkUint)
	frame = packStr(packStr(frame, "conv"), convOf(group))
	// The number first: like those of the SDK, the cids of all robots grow together.
	frame = packStr(packStr(frame, "cid"), idMark+"-"+robot)
	frame = packStr(packStr(frame, "body"), string(body))
	template, err := newTemplate(clientFrame(opBinary, frame))
	if err == nil {
		template.scramble = d.randomCids
	}
	return template, err
}

// SignalTemplate writes a signal, of which the server keeps the latest value only.
func (d *imserver) SignalTemplate(_, group string, body []byte) (Encoder, error) {
	frame := packStr(packStr(packMap(nil, 4), "t"), "signal")
	frame = packStr(packStr(frame, "conv"), convOf(group))
	frame = packStr(packStr(frame, "key"), "telemetry")
	frame = packStr(packStr(frame, "body"), string(body))
	return newTemplate(clientFrame(opBinary, frame))
}

// Register opens a session and leaves again.
func (d *imserver) Register(robot string) error {
	conn, _, err := d.open(robot, false)
	if err == nil {
		conn.Close()
	}
	return err
}

// position is a place in one conversation's log.
type position struct {
	seq, acked int
	ack        []byte // the frame that acks, up to the seq
}

type imserverWire struct {
	webSocket
	convs map[string]*position
	last  *position
	every int
}

func (w *imserverWire) Taped() bool { return true }

// ask sends a request and waits for an answer of a kind; what comes before it is taken as nobody's.
func (w *imserverWire) ask(request []byte, kind string) ([]byte, error) {
	if err := w.conn.Write(clientFrame(opBinary, request)); err != nil {
		return nil, err
	}
	for {
		payload, err := w.nextPayload()
		if err != nil {
			return nil, err
		}
		tag, u := frameTag(payload)
		if u.err != nil {
			return nil, u.err
		}
		switch tag {
		case kind:
			return payload, nil
		case "error", "bye":
			return nil, fmt.Errorf("imserver says: %q", payload)
		}
	}
}

// frameTag returns a frame's type, which msgspec writes first, and a reader of its other fields.
func frameTag(payload []byte) (string, *unpacker) {
	u := &unpacker{data: payload}
	u.mapSize()
	if string(u.str()) != "t" {
		u.fail()
	}
	return string(u.str()), u
}

func (w *imserverWire) Take(frame []byte, sink Sink) error {
	payload, err := w.payload(frame)
	if err != nil || payload == nil {
		return err
	}
	u := unpacker{data: payload}
	fields := u.mapSize() - 1
	u.str()
	switch string(u.str()) {
	case "deliver":
		return w.takeDeliver(&u, fields, sink)
	case "sent":
		return takeSent(&u, fields, sink)
	case "signal":
		return takeSignal(&u, fields, sink)
	case "error", "bye", "gap":
		return fmt.Errorf("imserver says: %q", payload)
	}
	return u.err
}

func takeSent(u *unpacker, fields int, sink Sink) error {
	id, dup := -1, false
	for ; fields > 0 && u.err == nil; fields-- {
		switch string(u.str()) {
		case "id":
			id = u.uint()
		case "dup":
			dup = u.head() == 0xC3
		default:
			u.skip()
		}
	}
	if u.err != nil {
		return u.err
	}
	if dup {
		return fmt.Errorf("send %d was taken for a repetition", id)
	}
	return sink.Acked(uint32(id))
}

func takeSignal(u *unpacker, fields int, sink Sink) error {
	ours := false
	for ; fields > 0 && u.err == nil; fields-- {
		switch string(u.str()) {
		case "key":
			ours = string(u.str()) == "telemetry" // and not the server's presence
		case "body":
			if ours {
				if err := sink.Message(u.str()); err != nil {
					return err
				}
			} else {
				u.skip()
			}
		default:
			u.skip()
		}
	}
	return u.err
}

func (w *imserverWire) takeDeliver(u *unpacker, fields int, sink Sink) error {
	for ; fields > 0 && u.err == nil; fields-- {
		switch string(u.str()) {
		case "conv":
			w.last = w.position(u.str())
		case "events":
			for events := u.arraySize(); events > 0; events-- {
				if err := w.takeEvent(u, sink); err != nil {
					return err
				}
			}
		default:
			u.skip()
		}
	}
	if u.err != nil {
		return u.err
	}
	return w.acknowledge()
}

func (w *imserverWire) position(conv []byte) *position {
	found := w.convs[string(conv)]
	if found == nil {
		ack := packStr(packStr(packMap(nil, 3), "t"), "ack")
		ack = packStr(packStr(ack, "conv"), string(conv))
		found = &position{ack: packStr(ack, "seq")}
		w.convs[string(conv)] = found
	}
	return found
}

func (w *imserverWire) takeEvent(u *unpacker, sink Sink) error {
	seq, body, ours := 0, []byte(nil), false
	for fields := u.mapSize(); fields > 0 && u.err == nil; fields-- {
		switch string(u.str()) {
		case "seq":
			seq = u.uint()
		case "kind":
			ours = string(u.str()) == "message"
		case "body":
			if ours {
				body = u.str()
			} else {
				u.skip()
			}
		default:
			u.skip()
		}
	}
	if u.err != nil {
		return u.err
	}
	if seq != w.last.seq+1 {
		return fmt.Errorf("seq %d was delivered where %d was due", seq, w.last.seq+1)
	}
	w.last.seq = seq
	if !ours {
		return nil
	}
	return sink.Message(body)
}

func (w *imserverWire) acknowledge() error {
	if w.last.seq-w.last.acked < w.every {
		return nil
	}
	w.last.acked = w.last.seq
	return w.conn.Write(clientFrame(opBinary, packUint(w.last.ack[:len(w.last.ack):len(w.last.ack)], uint64(w.last.seq))))
}

func (w *imserverWire) Skip(messages int) error {
	w.last.seq += messages
	return w.acknowledge()
}
