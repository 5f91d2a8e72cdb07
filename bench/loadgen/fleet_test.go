package main

import (
	"bytes"
	"fmt"
	"math/rand"
	"strings"
	"testing"
)

// readersOf returns readers of one group on one tape, whose lane has sent so many messages.
func readersOf(count, sent int) (*Fleet, []*Reader) {
	fleet := &Fleet{bodyBytes: 64, filling: filling(64)}
	lane := &Lane{dueNs: make([]int64, sent), sender: &Sender{}}
	fleet.Lanes = []*Lane{lane}
	tape := &Tape{}
	for i := 0; i < count; i++ {
		reader := &Reader{wire: &natsWire{}, fleet: fleet, only: lane, follower: follower{tape: tape, on: true}}
		lane.readers = append(lane.readers, reader)
		fleet.Readers = append(fleet.Readers, reader)
	}
	return fleet, fleet.Readers
}

func message(number int) string {
	return fmt.Sprintf("MSG bench.group0 1 64\r\n%s\r\n", body(0, uint32(number)))
}

func stream(from, to int) string {
	text := strings.Builder{}
	for number := from; number < to; number++ {
		text.WriteString(message(number))
	}
	return text.String()
}

func TestReadersFollowTheTapeHoweverTheirBytesAreCut(t *testing.T) {
	const sent = 500
	random := rand.New(rand.NewSource(1))
	_, readers := readersOf(5, sent)
	rests := make([][]byte, len(readers))
	for i := range readers {
		rests[i] = []byte(stream(0, sent))
	}
	// Now and then one gets something between two messages that the others do not.
	rests[3] = bytes.Replace(rests[3], []byte(message(200)), []byte("+OK\r\n"+message(200)), 1)
	for left := len(readers); left > 0; {
		left = 0
		for i, reader := range readers {
			size := random.Intn(400)
			if size > len(rests[i]) {
				size = len(rests[i])
			}
			if err := reader.take(rests[i][:size]); err != nil {
				t.Fatal(err)
			}
			rests[i] = rests[i][size:]
			if len(rests[i]) > 0 {
				left++
			}
		}
	}
	for i, reader := range readers {
		if reader.got != sent {
			t.Errorf("reader %d has %d of %d messages", i, reader.got, sent)
		}
	}
}

func TestALossADoubleAndAChangedBodyAreNoticedByEveryReader(t *testing.T) {
	changed := strings.Replace(message(2), "robots", "rabots", 1)
	for what, wrong := range map[string]string{
		"lost":    stream(0, 2) + stream(3, 5),
		"doubled": stream(0, 3) + stream(2, 5),
		"changed": stream(0, 2) + changed + stream(3, 5),
		"unsent":  stream(0, 6),
	} {
		for _, first := range []int{0, 1} {
			_, readers := readersOf(2, 5)
			var err error
			for i, reader := range readers {
				text := stream(0, 5)
				if i == first {
					text = wrong
				}
				if fault := reader.take([]byte(text)); fault != nil {
					err = fault
				}
			}
			if err == nil {
				t.Errorf("reader %d got a stream with a message %s, and nobody noticed", first, what)
			}
		}
	}
}

func TestASendAnsweredTwiceIsNoticed(t *testing.T) {
	sender := &Sender{acks: true, acked: make([]bool, 3), dueNs: make([]int64, 3), signals: map[uint32]bool{}}
	if err := sender.AckedTo(1); err != nil || sender.answered != 2 {
		t.Fatal(err, sender.answered)
	}
	if sender.Acked(1) == nil || sender.Acked(3) == nil {
		t.Error("an answer that nobody waits for was taken")
	}
}

func TestSignalsMayBeOvertakenAndMessagesMayNot(t *testing.T) {
	_, readers := readersOf(1, 9)
	reader := readers[0]
	reader.lanes, reader.only, reader.follower = []int32{0}, nil, follower{}
	reader.fleet.Lanes[0].signal = true
	if err := reader.take([]byte(message(0) + message(4))); err != nil {
		t.Fatal(err)
	}
	if reader.fleet.Lanes[0].skipped != 3 {
		t.Error("skipped", reader.fleet.Lanes[0].skipped)
	}
	reader.fleet.Lanes[0].signal = false
	if reader.take([]byte(message(7))) == nil {
		t.Error("a gap in a lane of messages was not noticed")
	}
}

func TestTheGrainGrowsWithTheGeneratorsShareAndShrinksAgain(t *testing.T) {
	one := newGrain(50)
	for i := 0; i < 9; i++ {
		one.adapt(0.65)
	}
	if one.ns != grainMostNs {
		t.Error("at 65 % of the core the grain is", one.ns)
	}
	one.adapt(0.5)
	if one.ns != grainMostNs {
		t.Error("at 50 % of the core it did not stay, but became", one.ns)
	}
	for i := 0; i < 9; i++ {
		one.adapt(0.1)
	}
	if one.ns != one.leastNs {
		t.Error("at 10 % of the core it is", one.ns)
	}
}
