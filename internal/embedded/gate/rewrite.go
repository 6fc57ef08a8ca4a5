package gate

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// maxProduce is the newest produce request clients are offered: later ones name topics by id.
const maxProduce = 12

// answerKind is how a produce request is answered.
type answerKind uint8

const (
	answered answerKind = iota
	dropped
	hung
	noAnswer // acks=0
)

// verdict is an error code a partition of a produce request is answered with.
type verdict struct {
	topic     string
	partition int32
	code      int16
}

// take rewrites a whole request for the broker and notes what its answer needs.
func (c *conn) take(answer *answer, frame []byte) ([]byte, error) {
	request := kmsg.RequestForKey(answer.key)
	request.SetVersion(answer.version)
	header, err := headerSize(frame, request.IsFlexible())
	if err != nil {
		return nil, err
	}
	if err := request.ReadFrom(frame[header:]); err != nil {
		return nil, fmt.Errorf("%w: %w", errFrame, err)
	}
	switch request := request.(type) {
	case *kmsg.MetadataRequest:
		answer.all = request.Topics == nil || answer.version == 0 && len(request.Topics) == 0
		return frame, nil
	case *kmsg.ProduceRequest:
		if !c.judge(answer, request) {
			return frame, nil
		}
		rewritten := request.AppendTo(slices.Clone(frame[:header]))
		binary.BigEndian.PutUint32(rewritten, uint32(len(rewritten)-4))
		return rewritten, nil
	}
	return frame, nil
}

// judge asks the faults about each partition, removes from the request those that must not be appended,
// and reports whether it removed any.
func (c *conn) judge(answer *answer, request *kmsg.ProduceRequest) (changed bool) {
	gate := c.listener.gate
	fail := gate.produce.Load()
	for i := range request.Topics {
		topic := &request.Topics[i]
		denied := gate.isDenied(topic.Topic)
		topic.Partitions = slices.DeleteFunc(topic.Partitions, func(p kmsg.ProduceRequestTopicPartition) bool {
			var action Action
			switch {
			case denied:
				action = RefuseBefore(kerr.TopicAuthorizationFailed.Code)
			case fail != nil:
				action = (*fail)(batchOf(topic.Topic, p))
			}
			switch action.kind {
			case refuseBefore, refuseAfter:
				answer.verdicts = append(answer.verdicts, verdict{topic.Topic, p.Partition, action.code})
			case dropBefore, dropAfter:
				answer.end = dropped
			case hangBefore, hangAfter:
				if answer.end != dropped {
					answer.end = hung
				}
			}
			changed = changed || !action.appends()
			return !action.appends()
		})
	}
	request.Topics = slices.DeleteFunc(request.Topics, func(topic kmsg.ProduceRequestTopic) bool {
		return len(topic.Partitions) == 0
	})
	if answer.end != answered {
		c.last = discard
	}
	if request.Acks == 0 {
		if answer.end == dropped {
			c.last = hangUp
		}
		answer.end = noAnswer
	}
	return changed
}

func batchOf(topic string, p kmsg.ProduceRequestTopicPartition) Batch {
	batch := Batch{
		Topic: topic, Partition: p.Partition, Bytes: len(p.Records),
		ProducerID: -1, ProducerEpoch: -1, FirstSequence: -1,
	}
	var header kmsg.RecordBatch
	if err := header.ReadFrom(p.Records); err == nil {
		batch.Records = int(header.NumRecords)
		batch.ProducerID, batch.ProducerEpoch = header.ProducerID, header.ProducerEpoch
		batch.FirstSequence = header.FirstSequence
	}
	return batch
}

// headerSize is the size of a request's length field and header.
func headerSize(frame []byte, flexible bool) (int, error) {
	const clientID = 12
	if len(frame) < clientID+2 {
		return 0, errFrame
	}
	size := clientID + 2 + max(0, int(int16(binary.BigEndian.Uint16(frame[clientID:]))))
	if !flexible {
		return min(size, len(frame)), nil
	}
	// Clients have no tagged fields to send in the header; the count is a zero byte.
	if size >= len(frame) || frame[size] != 0 {
		return 0, fmt.Errorf("%w: tagged fields in the header", errFrame)
	}
	return size + 1, nil
}

// give rewrites an answer for the client.
func (c *conn) give(answer *answer, frame []byte) ([]byte, error) {
	gate := c.listener.gate
	switch kmsg.Key(answer.key) { //nolint:exhaustive // The others are not rewritten.
	case kmsg.Produce:
		if len(answer.verdicts) == 0 {
			return frame, nil
		}
	case kmsg.Metadata:
		if !gate.denies() {
			return frame, nil
		}
	}
	response := kmsg.ResponseForKey(answer.key)
	response.SetVersion(answer.version)
	header := 8
	if response.IsFlexible() && answer.key != kmsg.ApiVersions.Int16() {
		header++
	}
	if len(frame) < header {
		return nil, errFrame
	}
	if err := response.ReadFrom(frame[header:]); err != nil {
		// A broker that does not know the version asked for answers ApiVersions in version 0.
		return frame, nil //nolint:nilerr // The client can read it.
	}
	switch response := response.(type) {
	case *kmsg.ApiVersionsResponse:
		for i, key := range response.ApiKeys {
			if key.ApiKey == kmsg.Produce.Int16() {
				response.ApiKeys[i].MaxVersion = min(key.MaxVersion, maxProduce)
			}
		}
	case *kmsg.MetadataResponse:
		c.deny(answer, response)
	case *kmsg.ProduceResponse:
		for _, verdict := range answer.verdicts {
			setCode(response, verdict)
		}
	}
	rewritten := response.AppendTo(slices.Clone(frame[:header]))
	binary.BigEndian.PutUint32(rewritten, uint32(len(rewritten)-4))
	return rewritten, nil
}

// deny hides the denied topics as a broker does: an error for a topic asked for by name, silence when all
// were.
func (c *conn) deny(answer *answer, response *kmsg.MetadataResponse) {
	denied := func(topic kmsg.MetadataResponseTopic) bool {
		return topic.Topic != nil && c.listener.gate.isDenied(*topic.Topic)
	}
	if answer.all {
		response.Topics = slices.DeleteFunc(response.Topics, denied)
		return
	}
	for i, topic := range response.Topics {
		if denied(topic) {
			refused := kmsg.NewMetadataResponseTopic()
			refused.Topic, refused.ErrorCode = topic.Topic, kerr.TopicAuthorizationFailed.Code
			response.Topics[i] = refused
		}
	}
}

// setCode gives a partition of a produce answer an error code, adding the partition if the broker never
// saw it.
func setCode(response *kmsg.ProduceResponse, v verdict) {
	partition := kmsg.NewProduceResponseTopicPartition()
	partition.Partition, partition.ErrorCode = v.partition, v.code
	partition.BaseOffset, partition.LogAppendTime, partition.LogStartOffset = -1, -1, -1
	for i := range response.Topics {
		topic := &response.Topics[i]
		if topic.Topic != v.topic {
			continue
		}
		for j := range topic.Partitions {
			if topic.Partitions[j].Partition == v.partition {
				topic.Partitions[j] = partition
				return
			}
		}
		topic.Partitions = append(topic.Partitions, partition)
		return
	}
	topic := kmsg.NewProduceResponseTopic()
	topic.Topic, topic.Partitions = v.topic, []kmsg.ProduceResponseTopicPartition{partition}
	response.Topics = append(response.Topics, topic)
}
