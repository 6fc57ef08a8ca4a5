package kafka

import (
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"syscall"
	"testing"

	"github.com/IBM/sarama"
	"github.com/stretchr/testify/require"
)

// TestClassifyEveryCode goes through every code of the protocol, those sarama has no name for too.
func TestClassifyEveryCode(t *testing.T) {
	t.Parallel()
	want := map[outcome][]sarama.KError{
		appended:      {0, 46},
		unsent:        {3, 5, 6, 8, 9, 14, 15, 16, 19, 31, 41, 58, 60, 74, 75, 89, 100, 103},
		garbled:       {2},
		tooLarge:      {10, 18},
		refused:       {32, 44, 87},
		staleIdentity: {45, 47, 48, 49, 59, 90},
		topicFault:    {29, 43, 76},
		illegalTopic:  {17},
	}
	of := map[sarama.KError]outcome{}
	for outcome, codes := range want {
		for _, code := range codes {
			require.NotContains(t, of, code)
			of[code] = outcome
		}
	}
	for code := sarama.KError(-1); code <= 150; code++ {
		expected, named := of[code]
		if !named {
			expected = unknown
		}
		require.Equal(t, expected, classify(code), "%d: %v", code, code)
	}
	for _, code := range []sarama.KError{
		sarama.ErrRequestTimedOut, sarama.ErrNetworkException, sarama.ErrNotEnoughReplicasAfterAppend, sarama.ErrUnknown, sarama.ErrKafkaStorageError,
	} {
		require.Equal(t, unknown, classify(code), "%v", code)
	}
}

func TestClassifyRequest(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		err  error
		want outcome
	}{
		{nil, appended},
		{sarama.PacketEncodingError{Info: "invalid request size"}, tooLarge},
		{fmt.Errorf("x: %w", sarama.ErrSASLAuthenticationFailed), unsent},
		{sarama.ErrNotConnected, unsent},
		{sarama.ErrUnsupportedVersion, unsent},
		{sarama.ConfigurationError("x"), unsent},
		{io.EOF, unknown},
		{io.ErrUnexpectedEOF, unknown},
		{os.ErrDeadlineExceeded, unknown},
		{&net.OpError{Op: "write", Err: syscall.ECONNRESET}, unknown},
		{sarama.PacketDecodingError{Info: "x"}, unknown},
		{errors.New("anything"), unknown},
	} {
		require.Equal(t, test.want, classifyRequest(test.err), "%v", test.err)
	}
}

func TestClassifyTopics(t *testing.T) {
	t.Parallel()
	for code := sarama.KError(-1); code <= 150; code++ {
		topic, create := topicLater, topicLater
		switch code {
		case 0:
			topic, create = topicUsable, topicUsable
		case 9:
			topic = topicUsable
		case 3, 100:
			topic = topicMissing
		case 17:
			topic, create = topicIllegal, topicIllegal
		case 29:
			topic, create = topicForbidden, topicForbidden
		case 31, 35, 37, 38, 39, 40, 42, 44:
			create = topicForbidden
		case 36:
			create = topicUsable
		}
		require.Equal(t, topic, classifyTopic(code), "%v", code)
		require.Equal(t, create, classifyCreate(code), "%v", code)
	}
}

func TestIllegalTopicNames(t *testing.T) {
	t.Parallel()
	for name, legal := range map[string]bool{
		"orders": true, "a.b_c-D9": true, string(make([]byte, 0, 1)): false, ".": false, "..": false, "a b": false, "ü": false, "a/b": false,
	} {
		require.Equal(t, legal, legalTopic(name) == nil, "%q", name)
	}
}
