package connect

import (
	"errors"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"

	"github.com/lib/pq"
)

// DSN is a PostgreSQL connection string, a URL or "key=value …" as lib/pq takes it. Every way of printing
// or logging it gives its redacted form; string(dsn) is the string itself.
type DSN string

const unreadableDSN = "[unreadable DSN]"

var errUnreadableDSN = errors.New("is not a connection string that lib/pq takes (it is not repeated here, " +
	"since a password may be in it): write postgres://user:password@host:port/database, with what is " +
	"special in the password percent-encoded")

// String returns where the connection goes: user, hosts, database and sslmode, as lib/pq understood them,
// and nothing else. What it cannot read is "[unreadable DSN]".
func (d DSN) String() string {
	if d == "" {
		return ""
	}
	config, err := d.config()
	if err != nil {
		return unreadableDSN
	}
	var shown url.URL
	shown.Scheme = "postgres"
	if config.User != "" {
		shown.User = url.User(config.User)
	}
	hosts := []string{net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))}
	for _, more := range config.Multi {
		hosts = append(hosts, net.JoinHostPort(more.Host, strconv.Itoa(int(more.Port))))
	}
	shown.Host = strings.Join(hosts, ",")
	shown.Path = "/" + config.Database
	if config.SSLMode != "" {
		shown.RawQuery = url.Values{"sslmode": {string(config.SSLMode)}}.Encode()
	}
	return shown.String()
}

// GoString is String: %#v must not show a password either.
func (d DSN) GoString() string { return strconv.Quote(d.String()) }

// LogValue is String.
func (d DSN) LogValue() slog.Value { return slog.StringValue(d.String()) }

// MarshalText is String, for JSON and its like.
func (d DSN) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// config parses the DSN; its error repeats nothing of it.
func (d DSN) config() (pq.Config, error) {
	text := string(d)
	if _, rest, isURL := strings.Cut(text, "://"); isURL {
		// An unescaped /, ? or # ends the authority. When the password had one, its first half would be
		// taken for a host and the @ comes later.
		if end := strings.IndexAny(rest, "/?#"); end >= 0 && strings.Contains(rest[end:], "@") {
			return pq.Config{}, errUnreadableDSN
		}
	}
	config, err := pq.NewConfig(text)
	if err != nil {
		return pq.Config{}, errUnreadableDSN
	}
	return config, nil
}
