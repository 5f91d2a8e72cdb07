package main

import (
	"encoding/binary"
	"fmt"
)

// As much of MessagePack as the protocol of imserver needs.

func packMap(out []byte, pairs int) []byte { return append(out, 0x80|byte(pairs)) }

func packStr(out []byte, text string) []byte {
	switch size := len(text); {
	case size < 32:
		out = append(out, 0xA0|byte(size))
	case size < 256:
		out = append(out, 0xD9, byte(size))
	default:
		out = append(out, 0xDA, byte(size>>8), byte(size))
	}
	return append(out, text...)
}

func packBin(out, data []byte) []byte {
	return append(append(out, 0xC4, byte(len(data))), data...)
}

func packUint(out []byte, value uint64) []byte {
	if value < 1<<32 {
		return binary.BigEndian.AppendUint32(append(out, 0xCE), uint32(value))
	}
	return binary.BigEndian.AppendUint64(append(out, 0xCF), value)
}

func packBool(out []byte, value bool) []byte {
	if value {
		return append(out, 0xC3)
	}
	return append(out, 0xC2)
}

func packStrs(out []byte, texts []string) []byte {
	out = append(out, 0xDD)
	out = binary.BigEndian.AppendUint32(out, uint32(len(texts)))
	for _, text := range texts {
		out = packStr(out, text)
	}
	return out
}

// unpacker reads MessagePack; the first fault stays in err, and everything after it is empty.
type unpacker struct {
	data []byte
	at   int
	err  error
}

func (u *unpacker) fail() {
	u.err = fmt.Errorf("no MessagePack as expected at byte %d of %.60q", u.at, u.data)
}

func (u *unpacker) next(count int) []byte {
	if u.err != nil || count < 0 || u.at+count > len(u.data) {
		if u.err == nil {
			u.fail()
		}
		return nil
	}
	part := u.data[u.at : u.at+count]
	u.at += count
	return part
}

func (u *unpacker) number(width int) int {
	part := u.next(width)
	value := 0
	for _, digit := range part {
		value = value<<8 | int(digit)
	}
	return value
}

// head returns the first byte of the next value.
func (u *unpacker) head() byte {
	if part := u.next(1); part != nil {
		return part[0]
	}
	return 0xC1
}

func (u *unpacker) sized(first, fixMask, fixBits, one, two, four byte) int {
	switch {
	case fixMask != 0 && first&fixMask == fixBits:
		return int(first &^ fixMask)
	case one != 0 && first == one:
		return u.number(1)
	case first == two:
		return u.number(2)
	case first == four:
		return u.number(4)
	}
	u.fail()
	return 0
}

func (u *unpacker) mapSize() int   { return u.sized(u.head(), 0xF0, 0x80, 0, 0xDE, 0xDF) }
func (u *unpacker) arraySize() int { return u.sized(u.head(), 0xF0, 0x90, 0, 0xDC, 0xDD) }
func (u *unpacker) str() []byte    { return u.next(u.sized(u.head(), 0xE0, 0xA0, 0xD9, 0xDA, 0xDB)) }

func (u *unpacker) uint() int {
	first := u.head()
	if first < 0x80 {
		return int(first)
	}
	if first >= 0xCC && first <= 0xCF {
		return u.number(1 << (first - 0xCC))
	}
	u.fail()
	return 0
}

// skip reads over any value.
func (u *unpacker) skip() {
	first := u.head()
	switch {
	case first < 0x80, first >= 0xE0, first == 0xC0, first == 0xC2, first == 0xC3:
	case first < 0x90:
		u.skipMany(2 * int(first&0x0F))
	case first < 0xA0:
		u.skipMany(int(first & 0x0F))
	case first < 0xC0:
		u.next(int(first & 0x1F))
	case first >= 0xC4 && first <= 0xC6:
		u.next(u.number(1 << (first - 0xC4)))
	case first >= 0xC7 && first <= 0xC9:
		u.next(u.number(1<<(first-0xC7)) + 1)
	case first == 0xCA, first == 0xCE, first == 0xD2:
		u.next(4)
	case first == 0xCB, first == 0xCF, first == 0xD3:
		u.next(8)
	case first == 0xCC, first == 0xD0:
		u.next(1)
	case first == 0xCD, first == 0xD1:
		u.next(2)
	case first >= 0xD4 && first <= 0xD8:
		u.next(1<<(first-0xD4) + 1)
	case first >= 0xD9 && first <= 0xDB:
		u.next(u.number(1 << (first - 0xD9)))
	case first == 0xDC, first == 0xDD:
		u.skipMany(u.number(2 << (first - 0xDC)))
	case first == 0xDE, first == 0xDF:
		u.skipMany(2 * u.number(2<<(first-0xDE)))
	default:
		u.fail()
	}
}

func (u *unpacker) skipMany(count int) {
	for ; count > 0 && u.err == nil; count-- {
		u.skip()
	}
}
