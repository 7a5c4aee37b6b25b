package handlers

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http/httptest"
	netmail "net/mail"
	"strings"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
	"github.com/stretchr/testify/require"

	"example.com/millwright/internal/infra/consumer"
)

// postOffice is a real SMTP server that keeps what it is given.
type postOffice struct {
	mu             sync.Mutex
	letters        []string
	from, to       string
	user, password string
	onRcpt, onData error
	hangUp         bool // once a mail has been accepted
	url            string
	clientTLS      *tls.Config
}

// open starts the server on scheme smtp, or smtps with a certificate for
// example.com.
func (p *postOffice) open(t *testing.T, scheme string) {
	t.Helper()
	server := smtp.NewServer(p)
	server.Domain, server.MaxRecipients = "localhost", 1
	server.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	p.url = scheme + "://" + listener.Addr().String()
	if scheme == "smtps" {
		certified := httptest.NewTLSServer(nil)
		t.Cleanup(certified.Close)
		roots := x509.NewCertPool()
		roots.AddCert(certified.Certificate())
		p.clientTLS = &tls.Config{RootCAs: roots, ServerName: "example.com", MinVersion: tls.VersionTLS12}
		p.url = scheme + "://ada:s%40cret@" + listener.Addr().String()
		listener = tls.NewListener(listener, &tls.Config{Certificates: certified.TLS.Certificates})
	}
	done := make(chan error, 1)
	go func() { done <- server.Serve(listener) }()
	t.Cleanup(func() {
		require.NoError(t, server.Close())
		require.NoError(t, <-done)
	})
}

func (p *postOffice) mailer(t *testing.T) Mailer {
	t.Helper()
	mailer, err := newSMTPMailer(MailConfig{SMTPURL: p.url, From: "orders@shop.example"}, p.clientTLS)
	require.NoError(t, err)
	return mailer
}

func (p *postOffice) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &counter{p, c}, nil
}

// counter is one client's session.
type counter struct {
	*postOffice
	conn *smtp.Conn
}

// Reset is called after every mail.
func (c *counter) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.hangUp && len(c.letters) > 0 {
		_ = c.conn.Conn().Close()
	}
}

func (c *counter) Logout() error { return nil }

func (c *counter) Mail(from string, _ *smtp.MailOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.from = from
	return nil
}

func (c *counter) Rcpt(to string, _ *smtp.RcptOptions) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.to = to
	return c.onRcpt
}

func (c *counter) Data(r io.Reader) error {
	letter, err := io.ReadAll(r)
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.onData == nil {
		c.letters = append(c.letters, string(letter))
	}
	return cmp.Or(c.onData, err)
}

func (c *counter) AuthMechanisms() []string { return []string{sasl.Plain} }

func (c *counter) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.user, c.password = user, password
		if password != "s@cret" {
			return errors.New("wrong password")
		}
		return nil
	}), nil
}

var letter = Mail{ID: "0192", OrderID: "o1", To: "ada@example.com", Subject: "Your order", Text: "2 × tea\n"}

func TestSMTP(t *testing.T) {
	t.Parallel()
	for _, scheme := range []string{"smtp", "smtps"} {
		t.Run(scheme, func(t *testing.T) {
			t.Parallel()
			office := &postOffice{}
			office.open(t, scheme)
			mailer := office.mailer(t)
			var group sync.WaitGroup
			for range 5 { // a consumer sends several at a time
				group.Go(func() { require.NoError(t, mailer.Send(t.Context(), letter)) })
			}
			group.Wait()
			require.Len(t, office.letters, 5)
			require.Equal(t, "orders@shop.example", office.from)
			require.Equal(t, "ada@example.com", office.to)
			got, err := netmail.ReadMessage(strings.NewReader(office.letters[0]))
			require.NoError(t, err)
			require.Equal(t, "<0192@shop.example>", got.Header.Get("Message-ID"))
			require.Equal(t, "Your order", got.Header.Get("Subject"))
			require.NotEmpty(t, got.Header.Get("Date"))
			body, err := io.ReadAll(got.Body)
			require.NoError(t, err)
			require.Contains(t, string(body), "2 =C3=97 tea")
			if scheme == "smtps" {
				require.Equal(t, "ada", office.user)
				require.Equal(t, "s@cret", office.password)
			}
		})
	}
}

func TestSMTPErrors(t *testing.T) {
	t.Parallel()
	noSuchUser := &smtp.SMTPError{Code: 550, EnhancedCode: smtp.EnhancedCode{5, 1, 1}, Message: "no mailbox for Ada@Example.com"}
	greylisted := &smtp.SMTPError{Code: 451, EnhancedCode: smtp.EnhancedCode{4, 7, 1}, Message: "try later"}
	for name, test := range map[string]struct {
		office    *postOffice
		text      string
		permanent bool
	}{
		"5xx on RCPT": {&postOffice{onRcpt: noSuchUser}, `550 "5.1.1 no mailbox for (recipient)"`, true},
		"4xx on RCPT": {&postOffice{onRcpt: greylisted}, `451 "4.7.1 try later"`, false},
		"5xx on DATA": {&postOffice{onData: &smtp.SMTPError{Code: 554, EnhancedCode: smtp.EnhancedCode{5, 7, 1}, Message: "spam"}}, `554 "5.7.1 spam"`, true},
		"4xx on DATA": {&postOffice{onData: greylisted}, `451 "4.7.1 try later"`, false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			test.office.open(t, "smtp")
			err := test.office.mailer(t).Send(t.Context(), letter)
			require.ErrorContains(t, err, test.text)
			require.Equal(t, test.permanent, consumer.IsPermanent(err))
			for e := err; e != nil; e = errors.Unwrap(e) { // all of the chain ends in a dead letter
				require.NotContains(t, strings.ToLower(e.Error()), "ada@example.com")
			}
			require.Empty(t, test.office.letters)
		})
	}
}

// A mail that was accepted must not be sent again because the goodbye failed.
func TestSMTPHangsUpAfterwards(t *testing.T) {
	t.Parallel()
	office := &postOffice{hangUp: true}
	office.open(t, "smtp")
	require.NoError(t, office.mailer(t).Send(t.Context(), letter))
	require.Len(t, office.letters, 1)
}

func TestSMTPServerIsAway(t *testing.T) {
	t.Parallel()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, listener.Close())
	office := &postOffice{url: "smtp://" + listener.Addr().String()}
	err = office.mailer(t).Send(t.Context(), letter)
	require.ErrorContains(t, err, "connection refused")
	require.False(t, consumer.IsPermanent(err))
}

func TestSMTPPasswordNeedsTLS(t *testing.T) {
	t.Parallel()
	office := &postOffice{}
	office.open(t, "smtp")
	office.url = strings.Replace(office.url, "//", "//ada:s%40cret@", 1)
	err := office.mailer(t).Send(t.Context(), letter)
	require.Error(t, err)
	require.False(t, consumer.IsPermanent(err))
	require.Empty(t, office.password)
	require.Empty(t, office.letters)
}

func TestSMTPWrongPassword(t *testing.T) {
	t.Parallel()
	office := &postOffice{}
	office.open(t, "smtps")
	office.url = strings.Replace(office.url, "s%40cret", "guess", 1)
	err := office.mailer(t).Send(t.Context(), letter)
	require.ErrorContains(t, err, "SMTP AUTH failed")
	require.NotContains(t, err.Error(), "guess")
}

func TestLogMailer(t *testing.T) {
	t.Parallel()
	var log buffer
	mailer, err := NewMailer(MailConfig{}, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	require.NoError(t, mailer.Send(t.Context(), letter))
	require.Contains(t, log.String(), `msg="mail not sent: no SMTP server is configured" order_id=o1 message_id=0192`)
	require.NotContains(t, log.String(), letter.To)
	require.NotContains(t, log.String(), "tea")
}

func TestMailConfigProblems(t *testing.T) {
	t.Parallel()
	_, err := NewMailer(MailConfig{SMTPURL: "http://ada:s3cret@", From: "Shop <orders@example.com>"}, nil)
	require.EqualError(t, err, `SMTP_URL: the scheme is "http", want smtp or smtps
the host is missing: smtp://host:port
MAIL_FROM is "Shop <orders@example.com>", want a bare address such as orders@example.com`)
}

func TestParseSMTPURL(t *testing.T) {
	t.Parallel()
	for raw, want := range map[string]SMTPServer{
		"smtp://localhost:1025":             {Host: "localhost", Port: 1025},
		"smtp://mail.example.com/":          {Host: "mail.example.com", Port: 587},
		"smtps://a%40b:p%2Fw@[::1]":         {Host: "::1", Port: 465, User: "a@b", Password: "p/w", TLS: true},
		"smtps://ada:s3cret@mail.test:2465": {Host: "mail.test", Port: 2465, User: "ada", Password: "s3cret", TLS: true},
	} {
		got, err := ParseSMTPURL(raw)
		require.NoError(t, err, raw)
		require.Equal(t, want, got)
	}
	for raw, want := range map[string]string{
		"":                            "the scheme is \"\", want smtp or smtps\nthe host is missing: smtp://host:port",
		"localhost:25":                "the scheme is \"localhost\", want smtp or smtps\nthe host is missing: smtp://host:port",
		"smtp://ada:s3cret%@host":     "it doesn't parse as a URL: write special characters of the password as %XX",
		"smtp://host:s3cret":          "it doesn't parse as a URL: write special characters of the password as %XX",
		"smtp://host:70000":           "the port is 70000, want 1 to 65535",
		"smtp://:s3cret@host":         "there is a password but no user",
		"smtp://host:25/path?tls=off": "nothing may follow the port",
	} {
		_, err := ParseSMTPURL(raw)
		require.EqualError(t, err, want, raw)
		require.NotContains(t, err.Error(), "s3cret")
	}
}
