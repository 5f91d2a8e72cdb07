package main

import (
	"errors"
	"fmt"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"
)

// Conn is a TCP connection on the loopback interface: opened with blocking calls, then handed to a loop.
// The blocking half serves the preparation of a load; what is measured runs on the loop.
type Conn struct {
	fd      int
	pending []byte // received and not yet taken, while blocking
	out     []byte // not yet taken by the socket, while on the loop
	loop    *Loop

	patience time.Duration
}

const (
	handshakeSeconds = 60
	readBytes        = 256 << 10
	sourceAddresses  = 16
	bindWithoutPort  = 24 // IP_BIND_ADDRESS_NO_PORT: a port is chosen when the other end is known
)

var errClosed = errors.New("the server closed a connection")

// connections counts them, to spread them over addresses.
var connections uint32

// inbox is shared: each chunk is taken before the next read.
var inbox = make([]byte, readBytes)

func connect(port int) (*Conn, error) {
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, err
	}
	conn := &Conn{fd: fd}
	conn.Patience(handshakeSeconds * time.Second)
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_TCP, syscall.TCP_NODELAY, 1)
	// Robots come from several addresses, as a server that counts connections by address expects of many.
	from := &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, byte(atomic.AddUint32(&connections, 1)%sourceAddresses + 1)}}
	_ = syscall.SetsockoptInt(fd, syscall.IPPROTO_IP, bindWithoutPort, 1)
	if err := syscall.Bind(fd, from); err != nil {
		return nil, err
	}
	address := &syscall.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}
	if err := syscall.Connect(fd, address); err != nil {
		syscall.Close(fd)
		return nil, fmt.Errorf("cannot connect to port %d: %w", port, err)
	}
	return conn, nil
}

// Patience sets how long to wait for the server while blocking.
func (c *Conn) Patience(most time.Duration) {
	c.patience = most
	limit := syscall.NsecToTimeval(int64(most))
	_ = syscall.SetsockoptTimeval(c.fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &limit)
}

// Fill waits for more bytes and adds them to pending.
func (c *Conn) Fill() error {
	var chunk [16 << 10]byte
	count, err := syscall.Read(c.fd, chunk[:])
	for err == syscall.EINTR {
		count, err = syscall.Read(c.fd, chunk[:])
	}
	if err == syscall.EAGAIN {
		return fmt.Errorf("the server said nothing for %s", c.patience)
	}
	if err != nil {
		return err
	}
	if count == 0 {
		return errClosed
	}
	c.pending = append(c.pending, chunk[:count]...)
	return nil
}

// Attach becomes non-blocking and lets the loop serve the connection.
func (c *Conn) Attach(loop *Loop, handler Handler) error {
	c.loop = loop
	if err := syscall.SetNonblock(c.fd, true); err != nil {
		return err
	}
	return loop.Add(c.fd, handler)
}

// Write sends bytes: before Attach waiting, afterwards as far as the socket takes them and the rest later.
func (c *Conn) Write(data []byte) error {
	if len(c.out) > 0 {
		c.out = append(c.out, data...)
		return nil
	}
	for len(data) > 0 {
		count, err := rawWrite(c.fd, data)
		if err == syscall.EINTR {
			continue
		}
		if err == syscall.EAGAIN {
			break
		}
		if err != nil {
			return fmt.Errorf("cannot write: %w", err)
		}
		data = data[count:]
	}
	if len(data) == 0 {
		return nil
	}
	c.out = append(c.out, data...)
	return c.loop.Watch(c.fd, true)
}

// Flush sends what is left, as far as the socket takes it.
func (c *Conn) Flush() error {
	rest := c.out
	c.out = nil
	if len(rest) > 0 {
		if err := c.Write(rest); err != nil || len(c.out) > 0 {
			return err
		}
	}
	return c.loop.Watch(c.fd, false)
}

// Congested tells whether the socket does not take all that is written.
func (c *Conn) Congested() bool { return len(c.out) > 0 }

// Read returns what has come, in the shared inbox; nothing if nothing has.
func (c *Conn) Read() ([]byte, error) {
	count, _, errno := syscall.RawSyscall(syscall.SYS_READ, uintptr(c.fd), uintptr(unsafe.Pointer(&inbox[0])), readBytes)
	switch {
	case errno == syscall.EAGAIN || errno == syscall.EINTR:
		return nil, nil
	case errno != 0:
		return nil, errno
	case count == 0:
		return nil, errClosed
	}
	return inbox[:count], nil
}

// Close closes the socket without ceremony.
func (c *Conn) Close() { syscall.Close(c.fd) }

func rawWrite(fd int, data []byte) (int, error) {
	count, _, errno := syscall.RawSyscall(syscall.SYS_WRITE, uintptr(fd), uintptr(unsafe.Pointer(&data[0])), uintptr(len(data)))
	if errno != 0 {
		return 0, errno
	}
	return int(count), nil
}
