package main

import (
	"bytes"
	"sort"
)

// Tape is the stream of one group's frames as the first reader got them.
//
// All members of a group get the same bytes from most servers, so only the first one's frames are taken
// apart; the others' are compared with the tape at the speed of memcmp. A reader whose bytes differ (other
// batches, a ping in between) takes its frames apart too, until it stands on the tape again. So everything
// that every reader receives is checked, and the generator still keeps up with millions a second.
type Tape struct {
	data   []byte
	origin int64   // where in the stream data begins: what was before is forgotten
	stops  []int64 // where each frame ends
	counts []int   // messages in the stream up to there
}

const tapeBytesMax = 96 << 20

func (t *Tape) end() int64 { return t.origin + int64(len(t.data)) }

func (t *Tape) start(index int) int64 {
	if index == 0 {
		return 0
	}
	return t.stops[index-1]
}

// last returns how many messages the tape holds.
func (t *Tape) last() int {
	if len(t.counts) == 0 {
		return 0
	}
	return t.counts[len(t.counts)-1]
}

// record appends a frame after which count messages were received.
func (t *Tape) record(frame []byte, count int) {
	if len(t.data)+len(frame) > tapeBytesMax {
		// Readers find out by their place that it is gone, and read on without the tape.
		half := len(t.data) / 2
		t.origin += int64(half)
		t.data = append(make([]byte, 0, tapeBytesMax), t.data[half:]...)
	}
	t.data = append(t.data, frame...)
	t.stops = append(t.stops, t.end())
	t.counts = append(t.counts, count)
}

// indexOf returns the frame that follows the first count messages; false if count lies inside a frame.
func (t *Tape) indexOf(count int) (int, bool) {
	if count == t.last() {
		return len(t.stops), true
	}
	index := sort.SearchInts(t.counts, count+1)
	if index == 0 {
		return 0, count == 0
	}
	return index, t.counts[index-1] == count
}

// from returns the bytes from a place on; nil if they are forgotten.
func (t *Tape) from(place int64) []byte {
	if place < t.origin {
		return nil
	}
	return t.data[place-t.origin:]
}

// follower is a reader's place on the tape.
type follower struct {
	tape  *Tape
	on    bool
	place int64
	index int
}

// follow compares a chunk with the tape and returns how much of it stands there; the index moves along.
func (f *follower) follow(chunk []byte) int {
	recorded := f.tape.from(f.place)
	if recorded == nil {
		return 0
	}
	if len(recorded) > len(chunk) {
		recorded = recorded[:len(chunk)]
	}
	if !bytes.Equal(recorded, chunk[:len(recorded)]) {
		return 0
	}
	f.place += int64(len(recorded))
	for f.index < len(f.tape.stops) && f.tape.stops[f.index] <= f.place {
		f.index++
	}
	return len(recorded)
}

// begun returns the bytes of the frame that the follower is in the middle of.
func (f *follower) begun() []byte {
	recorded := f.tape.from(f.tape.start(f.index))
	return recorded[:f.place-f.tape.start(f.index)]
}

// join puts the follower behind the first count messages and the bytes of a begun frame, if it can.
func (f *follower) join(count int, begun []byte) bool {
	index, ok := f.tape.indexOf(count)
	if !ok {
		return false
	}
	start := f.tape.start(index)
	if recorded := f.tape.from(start); recorded == nil || !bytes.HasPrefix(recorded, begun) {
		return false
	}
	f.index, f.place, f.on = index, start+int64(len(begun)), true
	return true
}
