package postgres

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// stopTimeout bounds a clean shutdown, the last checkpoint included.
const stopTimeout = 30 * time.Second

// Stop shuts the server down in the fast mode (open transactions are rolled back) and removes its
// directory, unless Config.DataDir named one. It does nothing to an external or a stopped server.
func (s *Server) Stop() error {
	if s.external {
		return nil
	}
	err := s.end(syscall.SIGINT)
	s.remove()
	return err
}

// Shutdown shuts the server down in the fast mode and keeps its data for [Server.Restart].
func (s *Server) Shutdown() error {
	if s.external {
		return ErrExternal
	}
	return s.end(syscall.SIGINT)
}

// Kill ends the server as a crash does: no rollback, no checkpoint. Its data stays for [Server.Restart].
func (s *Server) Kill() error {
	if s.external {
		return ErrExternal
	}
	return s.end(syscall.SIGQUIT)
}

// Restart starts the server again on the same port and data, after shutting it down if it runs. Every
// connection breaks.
func (s *Server) Restart(ctx context.Context) error {
	if s.external {
		return ErrExternal
	}
	s.mu.Lock()
	removed := s.removed
	s.mu.Unlock()
	if removed {
		return fmt.Errorf("%w for good; start another", ErrStopped)
	}
	if err := s.end(syscall.SIGINT); err != nil {
		return err
	}
	return s.launch(ctx, s.port)
}

// PID is the postmaster's process id, 0 when the server is external or stopped.
func (s *Server) PID() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.process == nil {
		return 0
	}
	return s.process.PID()
}

func (s *Server) end(signal syscall.Signal) error {
	s.mu.Lock()
	process := s.process
	s.process = nil
	s.mu.Unlock()
	if process == nil {
		return nil
	}
	if err := process.Stop(signal, stopTimeout); err != nil {
		return fmt.Errorf("postgres: %w", err)
	}
	return nil
}

func (s *Server) remove() {
	s.mu.Lock()
	s.removed = true
	s.mu.Unlock()
	if s.dir != "" {
		_ = os.RemoveAll(s.dir)
	}
}

// logTail is the last lines the server logged.
func (s *Server) logTail() string {
	content, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(strings.TrimSpace(string(content)), "\n")
	return strings.Join(lines[max(0, len(lines)-20):], "\n")
}
