package main

import (
	"bytes"
	"fmt"
)

// A message is text, so that all peers carry the same bytes: a mark, the lane and the message's number in it
// as eight hexadecimal digits each, and filling. A lane is what one sender sends into one group.
const (
	mark        = "~im~"
	digits      = 8
	laneAt      = len(mark)
	numberAt    = laneAt + digits
	headerBytes = numberAt + digits
)

const alphabet = "0123456789abcdef"

func putHex(into []byte, value uint32) {
	for i := digits - 1; i >= 0; i-- {
		into[i] = alphabet[value&15]
		value >>= 4
	}
}

func takeHex(from []byte) (uint32, bool) {
	value := uint32(0)
	for _, digit := range from[:digits] {
		switch {
		case digit >= '0' && digit <= '9':
			value = value<<4 | uint32(digit-'0')
		case digit >= 'a' && digit <= 'f':
			value = value<<4 | uint32(digit-'a'+10)
		default:
			return 0, false
		}
	}
	return value, true
}

// newBody returns a message of the given size of a lane, its number still open.
func newBody(size int, lane uint32) []byte {
	body := make([]byte, size)
	copy(body, mark)
	putHex(body[laneAt:], lane)
	putHex(body[numberAt:], 0)
	copy(body[headerBytes:], filling(size))
	return body
}

func filling(size int) []byte {
	return bytes.Repeat([]byte("robots carry shelves and say so "), size/32+1)[:size-headerBytes]
}

// openBody returns lane and number of a message; false if it is none of the bench's.
func openBody(body []byte) (lane, number uint32, ok bool) {
	if len(body) < headerBytes || string(body[:len(mark)]) != mark {
		return 0, 0, false
	}
	lane, ok = takeHex(body[laneAt:])
	if !ok {
		return 0, 0, false
	}
	number, ok = takeHex(body[numberAt:])
	return lane, number, ok
}

// Template makes frames that differ in a number alone, which stands in them in several places.
type Template struct {
	frame  []byte
	hexAt  []int // eight hexadecimal digits of the message's number in its lane
	idAt   []int // eight hexadecimal digits of the send's number on its connection
	uint32 []int // the same as four bytes, big endian
	// scramble makes the text of the send's number jump about, without repeating itself.
	scramble bool
}

// knuth is odd, so that multiplying by it gives every number once.
const knuth = 2_654_435_761

// idMark stands in a new template where the send's number goes: as text and as bytes.
const (
	idMark     = "~idmark~"
	idMarkUint = 0xFEDCBA98
)

var idMarkBytes = []byte{0xFE, 0xDC, 0xBA, 0x98}

// newTemplate takes a frame with a body of newBody, and idMark or idMarkUint where the send's number goes.
func newTemplate(frame []byte) (*Template, error) {
	body := bytes.Index(frame, []byte(mark))
	if body < 0 {
		return nil, fmt.Errorf("a template without a body")
	}
	return &Template{
		frame:  frame,
		hexAt:  []int{body + numberAt},
		idAt:   places(frame, []byte(idMark)),
		uint32: places(frame, idMarkBytes),
	}, nil
}

func places(frame, what []byte) []int {
	found := []int{}
	for at := 0; ; {
		next := bytes.Index(frame[at:], what)
		if next < 0 {
			return found
		}
		found = append(found, at+next)
		at += next + len(what)
	}
}

// Append adds the frame of one message.
func (t *Template) Append(out []byte, number, id uint32) []byte {
	at := len(out)
	out = append(out, t.frame...)
	frame := out[at:]
	for _, place := range t.hexAt {
		putHex(frame[place:], number)
	}
	text := id
	if t.scramble {
		text *= knuth
	}
	for _, place := range t.idAt {
		putHex(frame[place:], text)
	}
	for _, place := range t.uint32 {
		frame[place], frame[place+1], frame[place+2], frame[place+3] = byte(id>>24), byte(id>>16), byte(id>>8), byte(id)
	}
	return out
}
