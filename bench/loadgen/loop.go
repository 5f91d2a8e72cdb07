package main

import (
	"fmt"
	"syscall"
	"unsafe"
)

// Handler is called when its descriptor is ready.
type Handler interface {
	Ready(mask uint32) error
}

// Loop waits for descriptors and calls their handlers; nothing else runs between the two but Each.
type Loop struct {
	epoll    int
	handlers []Handler
	events   [512]syscall.EpollEvent
	// Each is called after each round of handlers.
	Each  func() error
	grain grain
	// reads counts what came, to see when nothing more does.
	reads int
}

const waitMaxMs = 20

func newLoop() (*Loop, error) {
	fd, err := syscall.EpollCreate1(0)
	return &Loop{epoll: fd, Each: func() error { return nil }}, err
}

// Add calls the handler whenever the descriptor is readable.
func (l *Loop) Add(fd int, handler Handler) error {
	for fd >= len(l.handlers) {
		l.handlers = append(l.handlers, make([]Handler, 1024)...)
	}
	l.handlers[fd] = handler
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_ADD, fd, &syscall.EpollEvent{Events: syscall.EPOLLIN, Fd: int32(fd)})
}

// Watch also waits for the descriptor to become writable, or no longer.
func (l *Loop) Watch(fd int, writing bool) error {
	events := uint32(syscall.EPOLLIN)
	if writing {
		events |= syscall.EPOLLOUT
	}
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_MOD, fd, &syscall.EpollEvent{Events: events, Fd: int32(fd)})
}

// Remove forgets the descriptor.
func (l *Loop) Remove(fd int) error {
	l.handlers[fd] = nil
	return syscall.EpollCtl(l.epoll, syscall.EPOLL_CTL_DEL, fd, nil)
}

// Run serves the descriptors for so many seconds.
func (l *Loop) Run(seconds float64) error {
	_, err := l.serve(func() bool { return false }, seconds)
	return err
}

// RunUntil serves the descriptors until done; it is an error if that takes longer than seconds.
func (l *Loop) RunUntil(done func() bool, seconds float64, what string) error {
	reached, err := l.serve(done, seconds)
	if err == nil && !reached {
		err = fmt.Errorf("%s did not happen within %g s", what, seconds)
	}
	return err
}

func (l *Loop) serve(done func() bool, seconds float64) (bool, error) {
	deadline := nowNs() + int64(seconds*1e9)
	for !done() {
		leftMs := (deadline - nowNs()) / 1_000_000
		if leftMs < 0 {
			return false, nil
		}
		if leftMs > waitMaxMs {
			leftMs = waitMaxMs
		}
		l.grain.rest()
		count, err := syscall.EpollWait(l.epoll, l.events[:], int(leftMs)+1)
		if err != nil && err != syscall.EINTR {
			return false, err
		}
		l.reads += count
		for i := 0; i < count; i++ {
			if handler := l.handlers[l.events[i].Fd]; handler != nil {
				if err := handler.Ready(l.events[i].Events); err != nil {
					return false, err
				}
			}
		}
		if err := l.Each(); err != nil {
			return false, err
		}
	}
	return true, nil
}

// Settle serves the descriptors until nothing has come for a while.
func (l *Loop) Settle() error {
	const quietSeconds, patienceSeconds = 0.1, 120
	for deadline := nowNs() + patienceSeconds*1e9; nowNs() < deadline; {
		before := l.reads
		if err := l.Run(quietSeconds); err != nil {
			return err
		}
		if l.reads == before {
			return nil
		}
	}
	return fmt.Errorf("the server did not come to rest within %d s", patienceSeconds)
}

// Ticker falls due at a rate, by a timer that the kernel keeps: epoll's own has a grain of a millisecond,
// and polling without sleeping would spare the server the cost of waking its readers.
type Ticker struct {
	fd         int
	intervalNs float64
	startNs    int64
	count      int
	onDue      func(from, to int, dueNs func(number int) int64)
}

type itimerspec struct {
	interval, first syscall.Timespec
}

// grainNs is the shortest interval of the timer; faster rates are due several at a tick.
const grainNs = 100_000

func newTicker(loop *Loop, rate float64, onDue func(from, to int, dueNs func(number int) int64)) (*Ticker, error) {
	fd, _, errno := syscall.Syscall(syscall.SYS_TIMERFD_CREATE, clockMonotonic, syscall.O_NONBLOCK, 0)
	if errno != 0 {
		return nil, errno
	}
	ticker := &Ticker{fd: int(fd), intervalNs: 1e9 / rate, onDue: onDue}
	period := int64(ticker.intervalNs)
	if period < grainNs {
		period = grainNs
	}
	setting := itimerspec{syscall.NsecToTimespec(period), syscall.NsecToTimespec(period)}
	ticker.startNs = nowNs() + period
	_, _, errno = syscall.Syscall6(syscall.SYS_TIMERFD_SETTIME, fd, 0, uintptr(unsafe.Pointer(&setting)), 0, 0, 0)
	if errno != 0 {
		return nil, errno
	}
	return ticker, loop.Add(int(fd), ticker)
}

// Ready offers what is due: number i at start + i / rate, whatever the server does with them.
func (t *Ticker) Ready(uint32) error {
	var expirations [8]byte
	_, _ = syscall.Read(t.fd, expirations[:])
	to := int(float64(nowNs()-t.startNs)/t.intervalNs) + 1
	if to > t.count {
		from := t.count
		t.count = to
		t.onDue(from, to, func(number int) int64 { return t.startNs + int64(float64(number)*t.intervalNs) })
	}
	return nil
}

// Stop offers no more.
func (t *Ticker) Stop(loop *Loop) error {
	if err := loop.Remove(t.fd); err != nil {
		return err
	}
	return syscall.Close(t.fd)
}
