package kafka

import (
	"errors"

	"github.com/IBM/sarama"
)

// outcome is what an answer, or the lack of one, says about a batch.
type outcome uint8

const (
	// appended: every in-sync replica has the batch.
	appended outcome = iota
	// unknown: the batch may have been appended. It is sent again, unchanged.
	unknown
	// unsent: the batch was not appended and nothing is wrong with it. It is sent again.
	unsent
	// garbled: the batch arrived damaged. Once that is transport's doing, time and again the record's.
	garbled
	// tooLarge: the batch was not appended; alone, a record of it may fit.
	tooLarge
	// refused: the batch was not appended because of a record in it.
	refused
	// staleIdentity: the batch was not appended because the broker does not know, or no longer accepts, the
	// producer id, its epoch or the sequence. It is sent again under a new one.
	staleIdentity
	// topicFault: the topic does not take records from this client.
	topicFault
	// illegalTopic: no topic can have this name.
	illegalTopic
)

// classify says what a partition's error code in a produce response means. Codes that do not name a
// cause we know are [unknown]: sending an idempotent batch again is always safe.
func classify(code sarama.KError) outcome {
	switch code {
	case sarama.ErrNoError,
		sarama.ErrDuplicateSequenceNumber: // an earlier attempt of the same batch was appended
		return appended

	case sarama.ErrUnknownTopicOrPartition, // metadata decides whether the topic is gone or has moved
		sarama.ErrLeaderNotAvailable,
		sarama.ErrNotLeaderForPartition,
		sarama.ErrBrokerNotAvailable,
		sarama.ErrReplicaNotAvailable,
		sarama.ErrNotEnoughReplicas, // its sibling AFTER_APPEND is unknown
		sarama.ErrOffsetsLoadInProgress,
		sarama.ErrConsumerCoordinatorNotAvailable,
		sarama.ErrNotCoordinatorForConsumer,
		sarama.ErrNotController,
		sarama.ErrClusterAuthorizationFailed, // the client's right to be idempotent, no topic's fault
		sarama.ErrSASLAuthenticationFailed,
		sarama.ErrFencedLeaderEpoch,
		sarama.ErrUnknownLeaderEpoch,
		sarama.ErrReassignmentInProgress,
		sarama.ErrThrottlingQuotaExceeded,
		errUnknownTopicID,
		errInconsistentTopicID:
		return unsent

	case sarama.ErrInvalidMessage: // CORRUPT_MESSAGE
		return garbled

	case sarama.ErrMessageSizeTooLarge,
		sarama.ErrMessageSetSizeTooLarge:
		return tooLarge

	case sarama.ErrInvalidRecord,
		sarama.ErrInvalidTimestamp,
		sarama.ErrPolicyViolation:
		return refused

	case sarama.ErrOutOfOrderSequenceNumber,
		sarama.ErrUnknownProducerID,
		sarama.ErrInvalidProducerEpoch,
		sarama.ErrInvalidProducerIDMapping,
		sarama.ErrInvalidTxnState,
		errProducerFenced:
		return staleIdentity

	case sarama.ErrTopicAuthorizationFailed,
		sarama.ErrUnsupportedForMessageFormat, // the topic's format is too old for what we send
		sarama.ErrUnsupportedCompressionType:
		return topicFault

	case sarama.ErrInvalidTopic:
		return illegalTopic

	default:
		return unknown
	}
}

// Codes sarama has no name for.
const (
	errProducerFenced      sarama.KError = 90
	errUnknownTopicID      sarama.KError = 100
	errInconsistentTopicID sarama.KError = 103
)

// classifyRequest says what the failure of a whole produce request means for its batches. Only what is
// certain not to have reached the wire is anything but [unknown].
func classifyRequest(err error) outcome {
	var encoding sarama.PacketEncodingError
	var code sarama.KError
	var config sarama.ConfigurationError
	switch {
	case err == nil:
		return appended
	case errors.As(err, &encoding):
		return tooLarge
	case errors.As(err, &code), // from authentication, which goes before the request
		errors.As(err, &config),
		errors.Is(err, sarama.ErrNotConnected),
		errors.Is(err, sarama.ErrUnsupportedVersion):
		return unsent
	default:
		return unknown
	}
}

// topicVerdict is what metadata, or a request to create a topic, says about the topic.
type topicVerdict uint8

const (
	topicUsable topicVerdict = iota
	// topicLater: ask again.
	topicLater
	// topicMissing: there is no such topic, at least not yet.
	topicMissing
	// topicForbidden: asking again changes nothing until an operator acts.
	topicForbidden
	// topicIllegal: no topic can have this name.
	topicIllegal
)

func classifyTopic(code sarama.KError) topicVerdict {
	switch code {
	case sarama.ErrNoError, sarama.ErrReplicaNotAvailable:
		return topicUsable
	case sarama.ErrUnknownTopicOrPartition, errUnknownTopicID:
		return topicMissing
	case sarama.ErrTopicAuthorizationFailed:
		return topicForbidden
	case sarama.ErrInvalidTopic:
		return topicIllegal
	default:
		return topicLater
	}
}

// classifyCreate says what the answer to CreateTopics means: usable is created or there already.
func classifyCreate(code sarama.KError) topicVerdict {
	switch code {
	case sarama.ErrNoError, sarama.ErrTopicAlreadyExists:
		return topicUsable
	case sarama.ErrTopicAuthorizationFailed,
		sarama.ErrClusterAuthorizationFailed,
		sarama.ErrInvalidPartitions,
		sarama.ErrInvalidReplicationFactor,
		sarama.ErrInvalidReplicaAssignment,
		sarama.ErrInvalidConfig,
		sarama.ErrPolicyViolation,
		sarama.ErrInvalidRequest,
		sarama.ErrUnsupportedVersion:
		return topicForbidden
	case sarama.ErrInvalidTopic:
		return topicIllegal
	default:
		return topicLater
	}
}
