package main

import (
	"bytes"
	"fmt"
	"testing"
)

// kept is a sink that keeps what it is told.
type kept struct {
	bodies []string
	acked  []uint32
	upTo   []uint32
}

func (k *kept) Message(body []byte) error { k.bodies = append(k.bodies, string(body)); return nil }
func (k *kept) Acked(id uint32) error     { k.acked = append(k.acked, id); return nil }
func (k *kept) AckedTo(id uint32) error   { k.upTo = append(k.upTo, id); return nil }

// cut feeds a stream to a wire in pieces of a size, and returns what the sink was told.
func cut(t *testing.T, wire Wire, stream []byte, piece int) *kept {
	t.Helper()
	found, partial := &kept{}, []byte{}
	for len(stream) > 0 {
		if piece > len(stream) {
			piece = len(stream)
		}
		partial = append(partial, stream[:piece]...)
		stream = stream[piece:]
		rest, err := takeFrames(wire, partial, found)
		if err != nil {
			t.Fatal(err)
		}
		partial = append([]byte{}, rest...)
	}
	if len(partial) > 0 {
		t.Fatalf("%q was left over", partial)
	}
	return found
}

func body(lane, number uint32) []byte {
	message := newBody(64, lane)
	putHex(message[numberAt:], number)
	return message
}

func serverFrame(payload []byte) []byte {
	frame := []byte{finalBit | opBinary, byte(len(payload))}
	if len(payload) > 125 {
		frame = []byte{finalBit | opBinary, 126, byte(len(payload) >> 8), byte(len(payload))}
	}
	return append(frame, payload...)
}

// streams are what each server writes to a reader of two messages.
func streams() map[string]struct {
	wire   Wire
	stream []byte
} {
	one, two := body(0, 0), body(0, 1)
	entry := func(id string, message []byte) string {
		return fmt.Sprintf("*2\r\n$%d\r\n%s\r\n*2\r\n$1\r\nm\r\n$%d\r\n%s\r\n", len(id), id, len(message), message)
	}
	delivery := func(message []byte) []byte {
		arguments := append(short(nil, "c"), 0, 0, 0, 0, 0, 0, 0, 1, 0)
		frames := method(amqpBasic, 60, short(short(arguments, "group0"), ""))
		frames = append(frames, amqpFrame(amqpHeader, 1, make([]byte, 14))...)
		return append(frames, amqpFrame(3, 1, message)...)
	}
	push := func(message []byte) []byte {
		reply := protoBytes(nil, fieldPush, protoBytes(nil, fieldPub, protoBytes(nil, fieldData, message)))
		return append([]byte{byte(len(reply))}, reply...)
	}
	event := func(seq uint64, message []byte) []byte {
		out := packUint(packStr(packMap(nil, 3), "seq"), seq)
		return packStr(packStr(packStr(packStr(out, "kind"), "message"), "body"), string(message))
	}
	deliver := packStr(packStr(packMap(nil, 3), "t"), "deliver")
	deliver = packStr(packStr(deliver, "conv"), "g/a")
	deliver = append(packStr(deliver, "events"), 0x92)
	deliver = append(append(deliver, event(1, one)...), event(2, two)...)
	sink := &Conn{fd: -1}
	return map[string]struct {
		wire   Wire
		stream []byte
	}{
		"nats":       {&natsWire{}, []byte(fmt.Sprintf("+OK\r\nMSG bench.a 1 64\r\n%s\r\nMSG bench.a 1 64\r\n%s\r\n", one, two))},
		"mqtt":       {&mqttWire{}, append(mqttPacket(mqttPublish, append(mqttString(nil, "a"), one...)), mqttPacket(mqttPublish, append(mqttString(nil, "a"), two...))...)},
		"amqp":       {&amqpWire{}, append(delivery(one), delivery(two)...)},
		"centrifugo": {&centrifugoWire{webSocket{sink}}, serverFrame(append(push(one), push(two)...))},
		"texts":      {&textWire{webSocket{sink}}, append(serverFrame(append([]byte(`42["message","`), append(one, `"]`...)...)), serverFrame(two)...)},
		"imserver":   {&imserverWire{webSocket: webSocket{sink}, convs: map[string]*position{}, every: 99}, serverFrame(deliver)},
		"redis":      {&redisQuiet{}, []byte("*1\r\n*2\r\n$1\r\na\r\n*2\r\n" + entry("1-0", one) + entry("1-1", two))},
	}
}

// redisQuiet reads as redisReader does, and asks for no more.
type redisQuiet struct{ redisReader }

func (w *redisQuiet) Take(frame []byte, sink Sink) error { return w.take(frame, sink) }

func TestEveryProtocolGivesTheMessagesHoweverItsBytesAreCut(t *testing.T) {
	for name := range streams() {
		for _, piece := range []int{1, 7, 1 << 20} {
			fresh := streams()[name]
			found := cut(t, fresh.wire, fresh.stream, piece)
			if len(found.bodies) != 2 || found.bodies[0] != string(body(0, 0)) || found.bodies[1] != string(body(0, 1)) {
				t.Errorf("%s in pieces of %d: %q", name, piece, found.bodies)
			}
		}
	}
}

func TestAnswersAreThoseOfTheSendsTheyName(t *testing.T) {
	ack := func(tag, multiple byte) []byte {
		return method(amqpBasic, 80, []byte{0, 0, 0, 0, 0, 0, 0, tag, multiple})
	}
	found := cut(t, &amqpWire{}, append(ack(1, 0), ack(9, 1)...), 5)
	if fmt.Sprint(found.acked, found.upTo) != "[0] [8]" {
		t.Errorf("RabbitMQ: %v %v", found.acked, found.upTo)
	}
	packets := []byte{mqttPubAck, 2, 0xFF, 0xFF, mqttPubAck, 2, 0, 1, mqttPubAck, 2, 0, 3}
	found = cut(t, &mqttWire{floor: mqttIDs - 1}, packets, 3)
	if fmt.Sprint(found.acked) != "[65534 65535 65537]" {
		t.Errorf("mosquitto: %v", found.acked)
	}
	found = cut(t, &jetStreamWire{}, []byte("MSG _INBOX.s1.000000ff 1 11\r\n{\"seq\":  1}\r\n"), 4)
	if fmt.Sprint(found.acked) != "[255]" {
		t.Errorf("JetStream: %v", found.acked)
	}
}

func TestATemplateSetsTheNumbersAndNothingElse(t *testing.T) {
	template, err := newTemplate([]byte("PUB x _INBOX." + idMark + " 64\r\n" + string(newBody(64, 7)) + "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	frame := template.Append(nil, 0x1234, 0xABCD)
	if !bytes.Contains(frame, []byte("_INBOX.0000abcd 64")) || !bytes.Contains(frame, body(7, 0x1234)) {
		t.Errorf("%q", frame)
	}
}

func TestABodyTellsItsLaneAndNumber(t *testing.T) {
	lane, number, ok := openBody(body(3, 0xFEDC))
	if lane != 3 || number != 0xFEDC || !ok {
		t.Error(lane, number, ok)
	}
	if _, _, ok := openBody([]byte("somebody else's message, long enough to be one")); ok {
		t.Error("a message of somebody else's was taken for one of the bench's")
	}
}

func TestADurationComesBackWithinAThousandth(t *testing.T) {
	for _, us := range []int64{1, 999, 2_047, 2_048, 4_097, 123_456, 1_000_000, 59_999_999} {
		histogram := &Histogram{}
		histogram.Record(us * 1_000)
		bucket := histogram.Sparse()[0][0]
		upper := int64(bucket)
		if bucket >= histogramBuckets {
			shift := bucket/histogramHalf - 1
			upper = int64(bucket-shift*histogramHalf+1)<<shift - 1
		}
		if upper < us || float64(upper) > float64(us)*1.001+1 {
			t.Errorf("%d µs came back as %d", us, upper)
		}
	}
}
