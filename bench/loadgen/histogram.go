package main

import "math/bits"

// Histogram counts durations from 1 µs to 60 s in buckets of one part in a thousand (the idea of
// HdrHistogram); what is longer counts as 60 s. bench/histogram.py has the same buckets.
type Histogram struct {
	counts [histogramSize]int
}

const (
	histogramBits    = 11
	histogramBuckets = 1 << histogramBits
	histogramHalf    = histogramBuckets >> 1
	longestUs        = 60_000_000
	histogramSize    = (26 - histogramBits + 2) * histogramHalf // 60 million takes 26 bits
)

// Record counts a duration given in nanoseconds.
func (h *Histogram) Record(ns int64) {
	value := ns / 1_000
	if value >= histogramBuckets {
		if value > longestUs {
			value = longestUs
		}
		shift := bitLength(value) - histogramBits
		value = int64(shift)*histogramHalf + value>>uint(shift)
	} else if value < 0 {
		value = 0
	}
	h.counts[value]++
}

func bitLength(value int64) int {
	return bits.Len64(uint64(value))
}

// Sparse returns the buckets that are not empty, as (bucket, count).
func (h *Histogram) Sparse() [][2]int {
	found := [][2]int{}
	for bucket, count := range h.counts {
		if count > 0 {
			found = append(found, [2]int{bucket, count})
		}
	}
	return found
}

// Latencies counts how long the messages took that fell due in a window, whenever they arrived: to leave out
// those that came after its end would be to leave out the slowest.
type Latencies struct {
	Histogram
	fromNs, toNs int64
}

const forever = int64(^uint64(0) >> 1)

// newLatencies opens the window.
func newLatencies() *Latencies { return &Latencies{fromNs: nowNs(), toNs: forever} }

// newApart opens the window for deliveries within a node and across nodes; nil without a cluster.
func newApart(nodes int) *[2]Latencies {
	if nodes == 0 {
		return nil
	}
	return &[2]Latencies{*newLatencies(), *newLatencies()}
}

// Took counts a message that was due at one time and arrived at another.
func (l *Latencies) Took(dueNs, arrivedNs int64) {
	if dueNs >= l.fromNs && dueNs < l.toNs {
		l.Record(arrivedNs - dueNs)
	}
}

// Close ends the window: what falls due from now on does not count.
func (l *Latencies) Close() { l.toNs = nowNs() }
