package handlers

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	netmail "net/mail"
	"net/textproto"
	"net/url"
	"regexp"
	"strconv"
	"strings"

	"github.com/wneessen/go-mail"

	"example.com/millwright/internal/infra/consumer"
)

// MailConfig says how mail leaves the service.
type MailConfig struct {
	// SMTPURL is smtp://user:password@host:port (STARTTLS where the server
	// offers it; the password is never sent without) or smtps://… (TLS from the
	// start). Defaults to none: mail is written to the log instead.
	SMTPURL string
	// From is the sender's bare address; its domain is in every Message-ID.
	// Required with SMTPURL.
	From string
}

// NewMailer returns a mailer that sends by SMTP, or one that only logs if no
// server is configured. All problems are reported at once, without the password.
func NewMailer(config MailConfig, logger *slog.Logger) (Mailer, error) {
	if config.SMTPURL == "" {
		return logMailer{logger}, nil
	}
	return newSMTPMailer(config, nil)
}

// logMailer stands in for a mail server on a developer's machine.
type logMailer struct{ logger *slog.Logger }

// Send implements Mailer. The address and the text stay out of the log.
func (m logMailer) Send(ctx context.Context, mail Mail) error {
	m.logger.InfoContext(ctx, "mail not sent: no SMTP server is configured", "order_id", mail.OrderID, "message_id", mail.ID)
	return nil
}

// SMTPServer is what an SMTP URL says.
type SMTPServer struct {
	Host           string
	Port           int
	User, Password string
	TLS            bool // from the start
}

// ParseSMTPURL understands smtp://user:password@host:port and smtps://…. The
// port defaults to 587 and 465. Errors don't repeat the URL: it has a password.
func ParseSMTPURL(raw string) (SMTPServer, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return SMTPServer{}, errors.New("it doesn't parse as a URL: write special characters of the password as %XX")
	}
	server := SMTPServer{Host: u.Hostname(), Port: 587, User: u.User.Username(), TLS: u.Scheme == "smtps"}
	server.Password, _ = u.User.Password()
	if server.TLS {
		server.Port = 465
	}
	var problems []error
	if u.Scheme != "smtp" && u.Scheme != "smtps" {
		problems = append(problems, fmt.Errorf("the scheme is %q, want smtp or smtps", u.Scheme))
	}
	if server.Host == "" {
		problems = append(problems, errors.New("the host is missing: smtp://host:port"))
	}
	if port := u.Port(); port != "" {
		if server.Port, err = strconv.Atoi(port); err != nil || server.Port < 1 || server.Port > 65535 {
			problems = append(problems, fmt.Errorf("the port is %s, want 1 to 65535", port))
		}
	}
	if server.User == "" && server.Password != "" {
		problems = append(problems, errors.New("there is a password but no user"))
	}
	if strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" {
		problems = append(problems, errors.New("nothing may follow the port"))
	}
	return server, errors.Join(problems...)
}

// smtpMailer opens a connection for every mail. It is safe for concurrent use.
type smtpMailer struct {
	client       *mail.Client
	from, domain string
}

// newSMTPMailer takes tlsConfig from tests; nil means the default.
func newSMTPMailer(config MailConfig, tlsConfig *tls.Config) (*smtpMailer, error) {
	var problems []error
	server, err := ParseSMTPURL(config.SMTPURL)
	if err != nil {
		problems = append(problems, fmt.Errorf("SMTP_URL: %w", err))
	}
	address, err := netmail.ParseAddress(config.From)
	if err != nil || address.Address != config.From {
		problems = append(problems, fmt.Errorf("MAIL_FROM is %q, want a bare address such as orders@example.com", config.From))
	}
	if len(problems) > 0 {
		return nil, errors.Join(problems...)
	}
	options := []mail.Option{mail.WithPort(server.Port), mail.WithTLSPolicy(mail.TLSOpportunistic)}
	if server.TLS {
		options = append(options, mail.WithSSL())
	}
	if server.User != "" {
		options = append(options, mail.WithSMTPAuth(mail.SMTPAuthAutoDiscover), mail.WithUsername(server.User), mail.WithPassword(server.Password))
	}
	if tlsConfig != nil {
		options = append(options, mail.WithTLSConfig(tlsConfig))
	}
	client, err := mail.NewClient(server.Host, options...)
	if err != nil {
		return nil, fmt.Errorf("SMTP_URL: %w", err)
	}
	_, domain, _ := strings.Cut(config.From, "@")
	return &smtpMailer{client: client, from: config.From, domain: domain}, nil
}

// Send implements Mailer. The server's 5xx are permanent; its 4xx, and a server
// that can't be reached, are not.
func (m *smtpMailer) Send(ctx context.Context, letter Mail) error {
	message := mail.NewMsg()
	if err := errors.Join(message.From(m.from), message.To(letter.To)); err != nil {
		return consumer.Permanent(redact(err, letter.To))
	}
	message.SetMessageIDWithValue(letter.ID + "@" + m.domain)
	message.SetDate()
	message.Subject(letter.Subject)
	message.SetBodyString(mail.TypeTextPlain, letter.Text)
	connection, err := m.client.DialToSMTPClientWithContext(ctx)
	if err != nil {
		return classify(ctx, err, letter.To)
	}
	defer func() { _ = m.client.CloseWithSMTPClient(connection) }() // accepted or not, the mail is beyond this
	err = m.client.SendWithSMTPClient(connection, message)
	if err != nil && !message.IsDelivered() { // a failure after delivery must not send it again
		return classify(ctx, err, letter.To)
	}
	return nil
}

// classify marks the server's 5xx as permanent.
func classify(ctx context.Context, err error, address string) error {
	if ctx.Err() != nil {
		return fmt.Errorf("smtp: %w", context.Cause(ctx))
	}
	code := 0
	if send, ok := errors.AsType[*mail.SendError](err); ok {
		code = send.ErrorCode()
	} else if reply, ok := errors.AsType[*textproto.Error](err); ok {
		code = reply.Code
	}
	err = redact(err, address)
	if code >= 500 {
		return consumer.Permanent(err)
	}
	return err
}

// redact takes the address out of what a library or a server says. The result
// ends up in logs and dead letters.
func redact(err error, address string) error {
	text := regexp.MustCompile(`(?i)`+regexp.QuoteMeta(address)).ReplaceAllLiteralString(err.Error(), "(recipient)")
	return errors.New("smtp: " + strings.ToValidUTF8(text, ""))
}
