package main

import (
	"bytes"
	"crypto/rand"
	"crypto/sha1"
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// WebSocket frames, RFC 6455. Client frames are masked with the key zero, which the RFC permits: the server
// unmasks them as any other, and the generator has no work with it.

const (
	opText   = 0x1
	opBinary = 0x2
	opClose  = 0x8
	opPing   = 0x9
	opPong   = 0xA
	finalBit = 0x80
	guid     = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11" // section 1.3
)

// upgrade opens a WebSocket on a fresh connection, waiting for the answer.
func upgrade(conn *Conn, port int, path, subprotocol string) error {
	var random [16]byte
	_, _ = rand.Read(random[:])
	key := base64.StdEncoding.EncodeToString(random[:])
	request := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %s\r\n", path, port, key)
	if subprotocol != "" {
		request += "Sec-WebSocket-Protocol: " + subprotocol + "\r\n"
	}
	if err := conn.Write([]byte(request + "\r\n")); err != nil {
		return err
	}
	for bytes.Index(conn.pending, []byte("\r\n\r\n")) < 0 {
		if err := conn.Fill(); err != nil {
			return err
		}
	}
	end := bytes.Index(conn.pending, []byte("\r\n\r\n")) + 4
	digest := sha1.Sum([]byte(key + guid))
	accept := base64.StdEncoding.EncodeToString(digest[:])
	head := conn.pending[:end]
	if !bytes.HasPrefix(head, []byte("HTTP/1.1 101 ")) || !bytes.Contains(head, []byte(accept)) {
		return fmt.Errorf("the upgrade was answered with %.200q", head)
	}
	conn.pending = append([]byte{}, conn.pending[end:]...)
	return nil
}

// clientFrame returns a payload as one masked frame.
func clientFrame(opcode byte, payload []byte) []byte {
	size := len(payload)
	frame := make([]byte, 0, size+14)
	frame = append(frame, finalBit|opcode)
	switch {
	case size < 126:
		frame = append(frame, 0x80|byte(size))
	case size < 1<<16:
		frame = append(frame, 0x80|126, byte(size>>8), byte(size))
	default:
		frame = append(frame, 0x80|127)
		frame = binary.BigEndian.AppendUint64(frame, uint64(size))
	}
	return append(append(frame, 0, 0, 0, 0), payload...)
}

// frameSize returns the length of the complete server frame at the start of a stream, 0 if it is incomplete.
func frameSize(stream []byte) (int, error) {
	if len(stream) < 2 {
		return 0, nil
	}
	head, size := 2, int(stream[1])
	switch {
	case size == 126:
		head = 4
		if len(stream) < head {
			return 0, nil
		}
		size = int(binary.BigEndian.Uint16(stream[2:]))
	case size == 127:
		head = 10
		if len(stream) < head {
			return 0, nil
		}
		size = int(binary.BigEndian.Uint64(stream[2:]))
	case size > 127:
		return 0, fmt.Errorf("the server masked a frame")
	}
	if len(stream) < head+size {
		return 0, nil
	}
	return head + size, nil
}

// webSocket is what the protocols over WebSocket have in common.
type webSocket struct {
	conn *Conn
}

func (w *webSocket) Size(stream []byte) (int, error) { return frameSize(stream) }

// payload returns the payload of a data frame; nil for a control frame, which is answered here.
func (w *webSocket) payload(frame []byte) ([]byte, error) {
	head := 2
	if frame[1] == 126 {
		head = 4
	} else if frame[1] == 127 {
		head = 10
	}
	payload := frame[head:]
	switch frame[0] {
	case finalBit | opBinary, finalBit | opText:
		return payload, nil
	case finalBit | opPing:
		return nil, w.conn.Write(clientFrame(opPong, payload))
	case finalBit | opPong:
		return nil, nil
	}
	return nil, fmt.Errorf("unexpected WebSocket frame %#x %.120q", frame[0], payload)
}

// nextPayload waits for the next data frame of a connection that is not on the loop yet.
func (w *webSocket) nextPayload() ([]byte, error) {
	for {
		size, err := frameSize(w.conn.pending)
		if err != nil {
			return nil, err
		}
		if size == 0 {
			if err := w.conn.Fill(); err != nil {
				return nil, err
			}
			continue
		}
		frame := append([]byte{}, w.conn.pending[:size]...)
		w.conn.pending = w.conn.pending[size:]
		payload, err := w.payload(frame)
		if err != nil || payload != nil {
			return payload, err
		}
	}
}
