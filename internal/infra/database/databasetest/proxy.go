package databasetest

import (
	"bytes"
	"encoding/binary"
	"net"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy stands between a DB and its PostgreSQL server, counts what is asked of
// the server, and breaks connections.
type Proxy struct {
	// URL is the database's, through the proxy.
	URL string

	server    string
	listener  net.Listener
	trips     atomic.Int64
	executed  atomic.Int64
	loseReply atomic.Pointer[[]byte]
	gate      sync.RWMutex
}

// NewProxy returns a proxy to the server that the URL names. It is gone when the
// test ends.
func NewProxy(t testing.TB, rawURL string) *Proxy {
	t.Helper()
	p, err := OpenProxy(rawURL)
	require.NoError(t, err)
	t.Cleanup(p.Close)
	return p
}

// OpenProxy returns a proxy to the server that the URL names. The caller closes it.
func OpenProxy(rawURL string) (*Proxy, error) {
	u, err := url.Parse(rawURL)
	if err != nil {
		return nil, err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	p := &Proxy{server: u.Host, listener: listener}
	u.Host = listener.Addr().String()
	p.URL = u.String()
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go p.serve(client)
		}
	}()
	return p, nil
}

// Close lets no more connections in.
func (p *Proxy) Close() { _ = p.listener.Close() }

// RoundTrips is how often a client has spoken after an answer.
func (p *Proxy) RoundTrips() int64 { return p.trips.Load() }

// Statements is how many statements clients have had executed, whatever they are:
// BEGIN, COMMIT and pings too.
func (p *Proxy) Statements() int64 { return p.executed.Load() }

// LoseReply breaks the next connection on which a client sends text, after the
// server has got it: the client can't know what became of it.
func (p *Proxy) LoseReply(text string) {
	b := []byte(text)
	p.loseReply.Store(&b)
}

// Stall holds back all that is sent, in both directions, until resume is called,
// as if the client's process were stopped.
func (p *Proxy) Stall() (resume func()) {
	p.gate.Lock()
	return sync.OnceFunc(p.gate.Unlock)
}

func (p *Proxy) pass() {
	p.gate.RLock()
	defer p.gate.RUnlock()
}

func (p *Proxy) serve(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", p.server)
	if err != nil {
		return
	}
	defer server.Close()
	var answered, lost atomic.Bool
	answered.Store(true)
	var stream frontend
	go func() {
		defer client.Close()
		forward(server, client, func([]byte) bool {
			p.pass()
			answered.Store(true)
			return !lost.Load()
		})
	}()
	forward(client, server, func(sent []byte) bool {
		p.pass()
		if answered.Swap(false) {
			p.trips.Add(1)
		}
		p.executed.Add(stream.executed(sent))
		if text := p.loseReply.Load(); text != nil && bytes.Contains(sent, *text) && p.loseReply.CompareAndSwap(text, nil) {
			lost.Store(true)
		}
		return true
	})
}

// forward copies until a side closes or pass says no.
func forward(from, to net.Conn, pass func(data []byte) bool) {
	buffer := make([]byte, 1<<16)
	for {
		n, err := from.Read(buffer)
		if n > 0 && !pass(buffer[:n]) {
			return
		}
		if n > 0 {
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// frontend follows what a client sends on a connection without TLS, message by
// message.
type frontend struct {
	unread  []byte
	started bool // past the messages without a type that open a connection
}

// executed returns how many messages that execute a statement are complete with
// data: Query, and Execute for a prepared one.
func (f *frontend) executed(data []byte) (n int64) {
	const length = 4 // of a message's length, which counts itself
	f.unread = append(f.unread, data...)
	for {
		head := 0
		if f.started {
			head = 1 // the type
		}
		if len(f.unread) < head+length {
			return n
		}
		end := head + int(binary.BigEndian.Uint32(f.unread[head:]))
		if len(f.unread) < end {
			return n
		}
		switch {
		case f.started:
			if kind := f.unread[0]; kind == 'Q' || kind == 'E' {
				n++
			}
		case end > 2*length: // longer than a question for TLS: the startup message
			f.started = true
		}
		f.unread = f.unread[end:]
	}
}
