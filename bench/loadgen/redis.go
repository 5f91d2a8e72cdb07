package main

import (
	"bytes"
	"fmt"
	"strconv"
)

// redis speaks RESP: a group is a stream, XADD sends, and each reader loops over a blocking XREAD.
type redis struct {
	port int
}

func newRedis(task *Task) Dialect { return &redis{task.Port} }

func (d *redis) Acks() bool         { return true }
func (d *redis) Before(*Plan) error { return nil }
func (d *redis) After(*Plan) error  { return nil }

func respCommand(words ...string) []byte {
	out := []byte(fmt.Sprintf("*%d\r\n", len(words)))
	for _, word := range words {
		out = append(out, fmt.Sprintf("$%d\r\n%s\r\n", len(word), word)...)
	}
	return out
}

func (d *redis) Subscribe(_ string, groups []string) (*Conn, Wire, error) {
	conn, err := connect(d.port)
	if err != nil {
		return nil, nil, err
	}
	wire := &redisReader{conn: conn, groups: groups, after: make([]string, len(groups))}
	for i := range groups {
		wire.after[i] = "0"
	}
	return conn, wire, wire.ask()
}

func (d *redis) Publish(string, []string) (*Conn, Wire, error) {
	conn, err := connect(d.port)
	if err != nil {
		return nil, nil, err
	}
	return conn, &redisSender{}, nil
}

func (d *redis) Template(_, group string, body []byte) (Encoder, error) {
	return newTemplate(respCommand("XADD", group, "*", "m", string(body)))
}

// respSize returns the length of the complete reply at the start of a stream, 0 if it is incomplete.
func respSize(stream []byte) (int, error) {
	line := bytes.IndexByte(stream, '\n') + 1
	if line == 0 {
		return 0, nil
	}
	switch stream[0] {
	case '+', '-', ':':
		return line, nil
	case '$':
		length, err := strconv.Atoi(string(stream[1 : line-2]))
		if err != nil || length < 0 {
			return line, err
		}
		if line+length+2 > len(stream) {
			return 0, nil
		}
		return line + length + 2, nil
	case '*':
		count, err := strconv.Atoi(string(stream[1 : line-2]))
		if err != nil {
			return 0, err
		}
		for ; count > 0; count-- {
			size, err := respSize(stream[line:])
			if err != nil || size == 0 {
				return 0, err
			}
			line += size
		}
		return line, nil
	}
	return 0, fmt.Errorf("no reply of Redis: %.80q", stream)
}

// redisSender takes the answers to XADD, which come in the order of the commands.
type redisSender struct {
	answered uint32
}

func (w *redisSender) Taped() bool                     { return false }
func (w *redisSender) Skip(int) error                  { return nil }
func (w *redisSender) Size(stream []byte) (int, error) { return respSize(stream) }

func (w *redisSender) Take(frame []byte, sink Sink) error {
	if frame[0] != '$' {
		return fmt.Errorf("Redis says: %.200q", frame)
	}
	w.answered++
	return sink.Acked(w.answered - 1)
}

// redisReader asks for what follows the last it has, over and over.
type redisReader struct {
	conn   *Conn
	groups []string
	after  []string
}

const redisPage = "1000"

func (w *redisReader) Taped() bool                     { return false }
func (w *redisReader) Skip(int) error                  { return nil }
func (w *redisReader) Size(stream []byte) (int, error) { return respSize(stream) }

func (w *redisReader) ask() error {
	words := []string{"XREAD", "COUNT", redisPage, "BLOCK", "0", "STREAMS"}
	return w.conn.Write(respCommand(append(append(words, w.groups...), w.after...)...))
}

// Take takes the messages and asks for what follows them.
func (w *redisReader) Take(frame []byte, sink Sink) error {
	if err := w.take(frame, sink); err != nil {
		return err
	}
	return w.ask()
}

// take reads *streams [*2 [name, *entries [*2 [id, *2 [field, value]]]]].
func (w *redisReader) take(frame []byte, sink Sink) error {
	r := resp{data: frame}
	for streams := r.count('*'); streams > 0; streams-- {
		r.count('*')
		name := string(r.bulk())
		for entries := r.count('*'); entries > 0; entries-- {
			r.count('*')
			id := r.bulk()
			r.count('*')
			r.bulk()
			body := r.bulk()
			if r.bad {
				break
			}
			if entries == 1 {
				w.moveTo(name, string(id))
			}
			if err := sink.Message(body); err != nil {
				return err
			}
		}
	}
	if r.bad {
		return fmt.Errorf("Redis says: %.200q", frame)
	}
	return nil
}

func (w *redisReader) moveTo(group, id string) {
	for i, name := range w.groups {
		if name == group {
			w.after[i] = id
		}
	}
}

// resp reads a complete reply.
type resp struct {
	data []byte
	bad  bool
}

func (r *resp) count(kind byte) int {
	line := bytes.IndexByte(r.data, '\n')
	if r.bad || line < 3 || r.data[0] != kind {
		r.bad = true
		return 0
	}
	number := 0
	for _, digit := range r.data[1 : line-1] {
		number = number*10 + int(digit-'0')
	}
	r.data = r.data[line+1:]
	return number
}

func (r *resp) bulk() []byte {
	size := r.count('$')
	if r.bad || size+2 > len(r.data) {
		r.bad = true
		return nil
	}
	value := r.data[:size]
	r.data = r.data[size+2:]
	return value
}
