package connect

import (
	"errors"
	"strings"

	"github.com/tailrace-go/tailrace/bus/kafka"
	"github.com/tailrace-go/tailrace/bus/outbox"
	"github.com/tailrace-go/tailrace/topics"
)

// Validate reports every mistake in the settings, each by its variable, without a secret, and wrapping
// [ErrConfig]. Certificate files are read only when events go directly to Kafka.
func (c Config) Validate() error {
	var faults []error
	check := func(variable string, err error) {
		if err != nil {
			faults = append(faults, fault(variable, "%w", err))
		}
	}
	faults = append(faults, c.kafkaFaults()...)

	// An illegal prefix is reported once, not with each name.
	check("EVENT_TOPIC_PREFIX", c.prefixFault())
	naming := topics.Naming{}
	if c.prefixFault() == nil {
		naming.Prefix = c.TopicPrefix
	}
	for _, topic := range [][2]string{
		{"EVENT_AUDIT_TOPIC", c.AuditTopic}, {"EVENT_NOTIFICATION_TOPIC", c.NotificationTopic}, {"EVENT_DEAD_LETTER_TOPIC", c.DeadLetterTopic},
	} {
		_, err := naming.Custom(topic[1])
		check(topic[0], err)
	}
	check("SERVICE_NAME", topics.Check(c.ServiceName))

	_, err := outbox.NewWriter(outbox.WriterConfig{Table: c.OutboxTable})
	check("EVENT_OUTBOX_TABLE", err)
	if err == nil && c.OutboxShards != 0 {
		_, err = outbox.NewWriter(outbox.WriterConfig{Table: c.OutboxTable, Shards: c.OutboxShards})
		check("EVENT_OUTBOX_SHARDS", err)
	}
	if c.DatabaseURL != "" {
		_, err := c.DatabaseURL.config()
		check("DATABASE_URL", err)
	}
	if c.Outboxed() && c.DB == nil && c.DatabaseURL == "" {
		check("USE_OUTBOX_PATTERN", errors.New("is true, but there is no database to have the outbox in: "+
			"set DATABASE_URL to the service's database, or USE_OUTBOX_PATTERN=false to publish directly to KAFKA_BROKERS"))
	}
	return errors.Join(faults...)
}

func (c Config) prefixFault() error {
	if c.TopicPrefix == "" {
		return nil
	}
	_, err := topics.Naming{Prefix: c.TopicPrefix}.Audit()
	return err
}

func (c Config) kafkaFaults() []error {
	var faults []error
	for _, broker := range c.KafkaBrokers {
		if strings.Contains(broker, "@") {
			// What stands before it may be a password.
			faults = append(faults, fault("KAFKA_BROKERS", "has an address with an @: write host:port, and say who you are with KAFKA_SASL_USERNAME and KAFKA_SASL_PASSWORD"))
		} else if _, err := kafka.ParseBrokers(broker); err != nil {
			faults = append(faults, fault("KAFKA_BROKERS", "%w", err))
		}
	}
	if len(c.KafkaBrokers) == 0 {
		faults = append(faults, fault("KAFKA_BROKERS", "is empty: give at least one host:port"))
	}
	switch c.KafkaSecurityProtocol {
	case "", kafka.Plaintext, kafka.SSL, kafka.SASLPlaintext, kafka.SASLSSL:
	default:
		faults = append(faults, fault("KAFKA_SECURITY_PROTOCOL", "is not one of PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"))
	}
	switch c.KafkaSASLMechanism {
	case "", kafka.Plain, kafka.ScramSHA256, kafka.ScramSHA512:
	default:
		faults = append(faults, fault("KAFKA_SASL_MECHANISM", "is not one of PLAIN, SCRAM-SHA-256, SCRAM-SHA-512"))
	}
	if c.usesSASL() {
		for _, needed := range [][2]string{{"KAFKA_SASL_USERNAME", c.KafkaSASLUsername}, {"KAFKA_SASL_PASSWORD", string(c.KafkaSASLPassword)}} {
			if needed[1] == "" {
				faults = append(faults, fault(needed[0], "is not set, and KAFKA_SECURITY_PROTOCOL=%s needs it", c.KafkaSecurityProtocol))
			}
		}
	}
	if c.usesTLS() && (c.KafkaSSLCertFile == "") != (c.KafkaSSLKeyFile == "") {
		faults = append(faults, fault("KAFKA_SSL_CERT_FILE", "goes together with KAFKA_SSL_KEY_FILE: set both or neither"))
	}
	if len(faults) == 0 && !c.Outboxed() {
		if err := c.Kafka().Validate(); err != nil {
			faults = append(faults, fault("KAFKA_*", "%w", err))
		}
	}
	return faults
}

// unused names the Kafka settings that the security protocol has no use for.
func (c Config) unused() []string {
	var names []string
	for _, setting := range []struct {
		variable string
		set      bool
	}{
		{"KAFKA_SASL_MECHANISM", c.KafkaSASLMechanism != "" && !c.usesSASL()},
		{"KAFKA_SASL_USERNAME", c.KafkaSASLUsername != "" && !c.usesSASL()},
		{"KAFKA_SASL_PASSWORD", c.KafkaSASLPassword != "" && !c.usesSASL()},
		{"KAFKA_SSL_CA_FILE", c.KafkaSSLCAFile != "" && !c.usesTLS()},
		{"KAFKA_SSL_CERT_FILE", c.KafkaSSLCertFile != "" && !c.usesTLS()},
		{"KAFKA_SSL_KEY_FILE", c.KafkaSSLKeyFile != "" && !c.usesTLS()},
	} {
		if setting.set {
			names = append(names, setting.variable)
		}
	}
	return names
}
