//go:build unix

package proc

import (
	"io"
	"os"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
)

// watchScript waits for a line or for the pipe's end. "done" means that the child has ended and its pid
// may by now be somebody else's. The end of the pipe means that the parent is gone.
const watchScript = `
read -r word
[ "$word" = done ] && exit 0
kill -"$2" "$1" 2>/dev/null
n=0
while kill -0 "$1" 2>/dev/null && [ $n -lt 50 ]; do sleep 0.1; n=$((n+1)); done
kill -9 "$1" 2>/dev/null
[ -n "$3" ] && rm -rf -- "$3"
exit 0
`

type watchdog struct {
	pipe io.WriteCloser
	cmd  *exec.Cmd
	once sync.Once
}

// watch starts a watchdog under the child's account and in a session of its own, out of reach of the
// terminal's signals.
func watch(pid int, cfg Config) (*watchdog, error) {
	cmd := exec.Command("/bin/sh", "-c", watchScript, "tailrace-watchdog",
		strconv.Itoa(pid), strconv.Itoa(int(cfg.DeathSignal)), cfg.Remove)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=/usr/bin:/bin:/usr/sbin:/sbin"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	setCredential(cmd.SysProcAttr, cfg.User)
	// os.Pipe sets close-on-exec, so no other child keeps the pipe open.
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer reader.Close()
	cmd.Stdin = reader
	if err := cmd.Start(); err != nil {
		_ = writer.Close()
		return nil, err
	}
	return &watchdog{pipe: writer, cmd: cmd}, nil
}

// dismiss ends the watchdog without its doing anything.
func (w *watchdog) dismiss() {
	w.once.Do(func() {
		_, _ = io.WriteString(w.pipe, "done\n")
		_ = w.pipe.Close()
		_ = w.cmd.Wait()
	})
}

func setCredential(attr *syscall.SysProcAttr, user *User) {
	if user != nil {
		attr.Credential = &syscall.Credential{Uid: user.UID, Gid: user.GID, Groups: []uint32{user.GID}}
	}
}
