package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/cenkalti/backoff/v5"
	"golang.org/x/sync/errgroup"

	"example.com/millwright/internal/infra/broker"
	"example.com/millwright/internal/infra/consumer"
	"example.com/millwright/internal/infra/database"
	"example.com/millwright/internal/infra/envelope"
	"example.com/millwright/internal/infra/outbox"
	"example.com/millwright/internal/infra/retention"
)

// Service is the running service. Wire puts it together.
type Service struct {
	Config    Config
	Logger    *slog.Logger
	Storage   *Storage
	Catalog   *envelope.Catalog
	Registry  Registry
	Broker    broker.Broker
	API       APIHandler
	Admin     AdminHandler
	Router    *consumer.Router
	Forwarder *outbox.Forwarder
	Retention *retention.Runner
}

// The HTTP handlers, told apart for Wire.
type (
	// APIHandler serves what the service is for.
	APIHandler http.Handler
	// AdminHandler serves what its operators need.
	AdminHandler http.Handler
)

// Addresses are where a service listens.
type Addresses struct{ API, Admin net.Addr }

// Run brings the service up, calls started once it listens, and works until ctx
// is done. It then stops taking requests and events, finishes those in flight
// within ShutdownTimeout, and returns nil. Any part that fails brings the whole
// service down with its error.
func (s *Service) Run(ctx context.Context, migrate bool, started func(Addresses)) error {
	if err := s.prepareSchema(ctx, migrate); err != nil {
		return err
	}
	if err := s.Registry.checkStart(ctx, s.Logger); err != nil {
		return err
	}
	api, err := net.Listen("tcp", s.Config.HTTPAddr)
	if err != nil {
		return fmt.Errorf("HTTP_ADDR: %w", err)
	}
	admin, err := net.Listen("tcp", s.Config.AdminAddr)
	if err != nil {
		return errors.Join(fmt.Errorf("ADMIN_ADDR: %w", err), api.Close())
	}
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.serve(ctx, api, s.API) })
	group.Go(func() error { return s.serve(ctx, admin, s.Admin) })
	for _, db := range s.databases() {
		group.Go(func() error { return db.Listen(ctx, s.Logger) })
	}
	group.Go(func() error { return s.Retention.Run(ctx) })
	group.Go(func() error {
		// Requests are taken while the broker is away: their events wait in the
		// outbox.
		if err := s.ensureTopics(ctx); err != nil {
			return nil // told to stop meanwhile
		}
		group.Go(func() error { return s.Forwarder.Run(ctx) })
		return s.Router.Run(ctx)
	})
	started(Addresses{API: api.Addr(), Admin: admin.Addr()})
	return group.Wait()
}

// prepareSchema migrates where it may: always on SQLite, which is this
// process's own; on PostgreSQL when told to.
func (s *Service) prepareSchema(ctx context.Context, migrate bool) error {
	if !migrate && s.Storage.db.Dialect() == database.Postgres {
		return s.Storage.CheckSchema(ctx)
	}
	applied, err := s.Storage.Migrate(ctx)
	if len(applied) > 0 {
		s.Logger.InfoContext(ctx, "migrated the database", "applied", applied)
	}
	return err
}

func (s *Service) databases() []*database.DB {
	if s.Storage.queue == nil || s.Storage.queue == s.Storage.db {
		return []*database.DB{s.Storage.db}
	}
	return []*database.DB{s.Storage.db, s.Storage.queue}
}

// ensureTopics makes the catalog's topics, for as long as it takes. It fails
// only when ctx is done.
func (s *Service) ensureTopics(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.MaxInterval = 5 * time.Second
	_, err := backoff.Retry(ctx, func() (struct{}, error) {
		return struct{}{}, s.Broker.EnsureTopics(ctx, s.Catalog.Topics()...)
	}, backoff.WithBackOff(pause), backoff.WithMaxElapsedTime(0), backoff.WithNotify(func(err error, wait time.Duration) {
		s.Logger.WarnContext(ctx, "the broker is not ready, events wait in the outbox", "broker", s.Broker.String(), "error", err, "retry_in", wait)
	}))
	return err
}

// Limits of the HTTP servers: what a slow or hostile client may hold on to.
const (
	headerTimeout = 5 * time.Second
	readTimeout   = 30 * time.Second
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// serve answers requests until ctx is done, then finishes those in flight.
func (s *Service) serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{
		Handler: handler, ReadHeaderTimeout: headerTimeout, ReadTimeout: readTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
		ErrorLog: slog.NewLogLogger(s.Logger.Handler(), slog.LevelDebug),
	}
	stopped := make(chan error, 1)
	release := context.AfterFunc(ctx, func() {
		limit, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.Config.ShutdownTimeout)
		defer cancel()
		stopped <- server.Shutdown(limit)
	})
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		release()
		return fmt.Errorf("serve %s: %w", listener.Addr(), err)
	}
	if err := <-stopped; err != nil {
		s.Logger.Warn("requests still in flight when the time to stop was over", "timeout", s.Config.ShutdownTimeout, "error", err)
	}
	return nil
}
