package databasetest

import (
	"bytes"
	"net"
	"net/url"
	"sync/atomic"
	"testing"

	"github.com/stretchr/testify/require"
)

// Proxy stands between a DB and its PostgreSQL server, counts round trips and
// breaks connections.
type Proxy struct {
	// URL is the database's, through the proxy.
	URL string

	server    string
	listener  net.Listener
	trips     atomic.Int64
	loseReply atomic.Pointer[[]byte]
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

// LoseReply breaks the next connection on which a client sends text, after the
// server has got it: the client can't know what became of it.
func (p *Proxy) LoseReply(text string) {
	b := []byte(text)
	p.loseReply.Store(&b)
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
	go func() {
		defer client.Close()
		forward(server, client, func([]byte) bool {
			answered.Store(true)
			return !lost.Load()
		})
	}()
	forward(client, server, func(sent []byte) bool {
		if answered.Swap(false) {
			p.trips.Add(1)
		}
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
