package kafka

import (
	"cmp"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/IBM/sarama"
)

// SecurityProtocol is how a connection to a broker is secured; the names are Kafka's security.protocol.
type SecurityProtocol string

// The security protocols. The zero value means [Plaintext].
const (
	Plaintext     SecurityProtocol = "PLAINTEXT"
	SSL           SecurityProtocol = "SSL"
	SASLPlaintext SecurityProtocol = "SASL_PLAINTEXT"
	SASLSSL       SecurityProtocol = "SASL_SSL"
)

func (p SecurityProtocol) tls() bool  { return p == SSL || p == SASLSSL }
func (p SecurityProtocol) sasl() bool { return p == SASLPlaintext || p == SASLSSL }

// Config is how to reach a Kafka cluster. Only Brokers is needed.
type Config struct {
	// Brokers are the addresses (host:port) to start from; the others are learnt from the cluster.
	Brokers []string
	// SecurityProtocol defaults to PLAINTEXT.
	SecurityProtocol SecurityProtocol
	// SASL is used with SASL_PLAINTEXT and SASL_SSL.
	SASL SASL
	// TLS is used with SSL and SASL_SSL.
	TLS TLS
	// ClientID is the name brokers log and apply quotas to; the default is "tailrace".
	ClientID string
	// DialTimeout bounds the making of a connection; the default is 10 s.
	DialTimeout time.Duration
	// RequestTimeout is how long an answer may take before its connection is given up; the default is
	// 15 s. A broker waits two thirds of it for its replicas to acknowledge a batch.
	RequestTimeout time.Duration
	// Version is the newest Kafka version whose protocol is spoken, such as "3.7.0"; the default is
	// "2.8.0". What a broker does not speak is lowered by negotiation (KIP-511).
	Version string
}

const (
	defaultClientID       = "tailrace"
	defaultDialTimeout    = 10 * time.Second
	defaultRequestTimeout = 15 * time.Second
)

// ErrConfig is what every mistake in a configuration of this package is: errors.Is(err, ErrConfig).
var ErrConfig = errors.New("kafka: invalid configuration")

// Validate reports all mistakes at once, each wrapping [ErrConfig]. It reads the TLS files. No error
// holds a password.
func (c Config) Validate() error {
	errs := c.brokerFaults()
	switch c.SecurityProtocol {
	case "", Plaintext, SSL, SASLPlaintext, SASLSSL:
	default:
		errs = append(errs, configError("SecurityProtocol %q is none of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL", string(c.SecurityProtocol)))
	}
	errs = append(errs, c.SASL.faults(c.SecurityProtocol)...)
	errs = append(errs, c.TLS.faults(c.SecurityProtocol)...)
	if c.DialTimeout < 0 {
		errs = append(errs, configError("DialTimeout is %v; it must be positive, or 0 for %v", c.DialTimeout, defaultDialTimeout))
	}
	if c.RequestTimeout < 0 {
		errs = append(errs, configError("RequestTimeout is %v; it must be positive, or 0 for %v", c.RequestTimeout, defaultRequestTimeout))
	}
	if version, err := c.version(); err != nil {
		errs = append(errs, configError("Version %q is not a Kafka version such as %q", c.Version, sarama.DefaultVersion.String()))
	} else if !version.IsAtLeast(sarama.V0_11_0_0) {
		errs = append(errs, configError("Version %q is older than 0.11.0, which brought record headers and idempotence", c.Version))
	}
	return errors.Join(errs...)
}

func (c Config) brokerFaults() []error {
	if len(c.Brokers) == 0 {
		return []error{configError("Brokers is empty; give at least one host:port")}
	}
	var errs []error
	for _, broker := range c.Brokers {
		if err := checkBroker(broker); err != nil {
			errs = append(errs, err)
		}
	}
	return errs
}

// ParseBrokers splits a list of brokers, "host1:9092,host2:9092". Blanks around an address and empty
// entries are dropped, an address without port gets 9092. The error wraps [ErrConfig] and lists every bad
// address.
func ParseBrokers(list string) ([]string, error) {
	var brokers []string
	var errs []error
	for entry := range strings.SplitSeq(list, ",") {
		entry = strings.TrimSpace(entry)
		if entry == "" {
			continue
		}
		if _, _, err := net.SplitHostPort(entry); err != nil && !strings.HasSuffix(entry, ":") {
			entry = net.JoinHostPort(strings.Trim(entry, "[]"), "9092")
		}
		if err := checkBroker(entry); err != nil {
			errs = append(errs, err)
			continue
		}
		brokers = append(brokers, entry)
	}
	if len(brokers) == 0 && len(errs) == 0 {
		errs = append(errs, configError("the list of brokers is empty; give at least one host:port"))
	}
	return brokers, errors.Join(errs...)
}

func checkBroker(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return configError("broker %q is not host:port", address)
	}
	number, err := strconv.ParseUint(port, 10, 16)
	if host == "" || strings.ContainsAny(host, " \t\r\n/@") || err != nil || number == 0 {
		return configError("broker %q is not host:port", address)
	}
	return nil
}

func (c Config) version() (sarama.KafkaVersion, error) {
	if c.Version == "" {
		return sarama.DefaultVersion, nil
	}
	return sarama.ParseKafkaVersion(c.Version)
}

func (c Config) requestTimeout() time.Duration {
	return cmp.Or(c.RequestTimeout, defaultRequestTimeout)
}

// String describes the settings, without secrets.
func (c Config) String() string {
	text := fmt.Sprintf("kafka %s %s", cmp.Or(c.SecurityProtocol, Plaintext), strings.Join(c.Brokers, ","))
	if c.SecurityProtocol.sasl() {
		text += fmt.Sprintf(" %s user %q", cmp.Or(c.SASL.Mechanism, Plain), c.SASL.Username)
	}
	return text
}

// GoString is String: %#v must not show a password either.
func (c Config) GoString() string { return c.String() }

// LogValue describes the settings, without secrets.
func (c Config) LogValue() slog.Value {
	attrs := []slog.Attr{
		slog.Any("brokers", c.Brokers),
		slog.String("security_protocol", string(cmp.Or(c.SecurityProtocol, Plaintext))),
		slog.String("client_id", cmp.Or(c.ClientID, defaultClientID)),
	}
	if c.SecurityProtocol.sasl() {
		attrs = append(attrs, slog.Any("sasl", c.SASL))
	}
	return slog.GroupValue(attrs...)
}

func configError(format string, args ...any) error {
	return fmt.Errorf("%w: %w", ErrConfig, fmt.Errorf(format, args...))
}
