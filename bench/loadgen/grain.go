package main

import (
	"syscall"
	"unsafe"
)

// grain is the least time from one look at the sockets to the next.
//
// Without one each delivery wakes the generator by itself, as at a trickle it wakes a robot. At some 200,000
// deliveries a second that would cost the generator its whole core, so from 100,000 on it looks a little less
// often. Should it still come close to the share of its core above which a run is void (from a server that
// writes each message by itself), it looks less and less often; that delays its readers, and by no more than
// grainMostNs.
type grain struct {
	leastNs, ns     int64
	lookNs          int64
	checkNs, usedNs int64
}

const (
	grainMostNs  = 800_000
	grainCheckNs = 50_000_000
	grainUp      = 0.6
	grainDown    = 0.4
)

func newGrain(us int64) grain { return grain{leastNs: us * 1_000, ns: us * 1_000} }

// rest sleeps until the grain is over.
func (g *grain) rest() {
	if g.leastNs == 0 {
		return
	}
	now := nowNs()
	if left := g.lookNs + g.ns - now; left > 0 {
		pause := syscall.NsecToTimespec(left)
		syscall.RawSyscall(syscall.SYS_NANOSLEEP, uintptr(unsafe.Pointer(&pause)), 0, 0)
		now = nowNs()
	}
	g.lookNs = now
	if now-g.checkNs > grainCheckNs {
		used, _ := clockNs(clockProcessCPU)
		g.adapt(float64(used-g.usedNs) / float64(now-g.checkNs))
		g.checkNs, g.usedNs = now, used
	}
}

// adapt sets the grain by the share of its core that the generator used.
func (g *grain) adapt(share float64) {
	if share > grainUp && g.ns < grainMostNs {
		g.ns *= 2
	} else if share < grainDown && g.ns > g.leastNs {
		g.ns /= 2
	}
}
