package kafka

import (
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"hash"
	"log/slog"

	"github.com/IBM/sarama"
	"github.com/xdg-go/scram"
)

// Mechanism is a SASL mechanism, named as Kafka names it.
type Mechanism string

// The SASL mechanisms. The zero value means [Plain].
const (
	Plain       Mechanism = "PLAIN"
	ScramSHA256 Mechanism = "SCRAM-SHA-256"
	ScramSHA512 Mechanism = "SCRAM-SHA-512"
)

// Secret is a text that never shows itself: every way of printing or logging it gives "[redacted]".
type Secret string

const redacted = "[redacted]"

// String returns "[redacted]", or "" when there is no secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return redacted
}

// GoString is String.
func (s Secret) GoString() string { return fmt.Sprintf("%q", s.String()) }

// LogValue is String.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// MarshalText is String, for JSON and its like.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// SASL is who the client says it is.
type SASL struct {
	// Mechanism defaults to PLAIN.
	Mechanism Mechanism
	Username  string
	Password  Secret
}

// LogValue describes the settings, without the password.
func (s SASL) LogValue() slog.Value {
	return slog.GroupValue(
		slog.String("mechanism", string(cmp.Or(s.Mechanism, Plain))),
		slog.String("username", s.Username),
	)
}

func (s SASL) faults(protocol SecurityProtocol) []error {
	var errs []error
	if !protocol.sasl() {
		if s != (SASL{}) {
			errs = append(errs, configError("SASL is set but SecurityProtocol is %s; use SASL_SSL or SASL_PLAINTEXT", cmp.Or(protocol, Plaintext)))
		}
		return errs
	}
	switch s.Mechanism {
	case "", Plain, ScramSHA256, ScramSHA512:
	default:
		errs = append(errs, configError("SASL.Mechanism %q is none of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512", string(s.Mechanism)))
	}
	if s.Username == "" {
		errs = append(errs, configError("SASL.Username is empty"))
	}
	if s.Password == "" {
		errs = append(errs, configError("SASL.Password is empty"))
	}
	return errs
}

func (s SASL) apply(config *sarama.Config) {
	config.Net.SASL.Enable = true
	config.Net.SASL.User = s.Username
	config.Net.SASL.Password = string(s.Password)
	switch s.Mechanism {
	case ScramSHA256:
		config.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA256
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: sha256.New} }
	case ScramSHA512:
		config.Net.SASL.Mechanism = sarama.SASLTypeSCRAMSHA512
		config.Net.SASL.SCRAMClientGeneratorFunc = func() sarama.SCRAMClient { return &scramClient{hash: sha512.New} }
	default:
		config.Net.SASL.Mechanism = sarama.SASLTypePlaintext
	}
}

// scramClient is sarama's view of a SCRAM conversation (RFC 5802, RFC 7677).
type scramClient struct {
	hash         func() hash.Hash
	conversation *scram.ClientConversation
}

func (c *scramClient) Begin(username, password, authzID string) error {
	client, err := scram.HashGeneratorFcn(c.hash).NewClient(username, password, authzID)
	if err != nil {
		// The error of a failed SASLprep may quote what it was given.
		return fmt.Errorf("kafka: the SASL username or password holds characters SCRAM does not allow (RFC 4013)")
	}
	c.conversation = client.NewConversation()
	return nil
}

func (c *scramClient) Step(challenge string) (string, error) { return c.conversation.Step(challenge) }

func (c *scramClient) Done() bool { return c.conversation.Done() }
