package envelopes

import (
	"net/url"
	"strings"
	"time"
	"unicode/utf8"
)

// The names of the CloudEvents 1.0 attributes as record headers (CloudEvents Kafka protocol binding,
// binary content mode).
const (
	HeaderSpecVersion = "ce_specversion"
	HeaderID          = "ce_id"
	HeaderSource      = "ce_source"
	HeaderType        = "ce_type"
	HeaderTime        = "ce_time"
	HeaderSubject     = "ce_subject"
	HeaderContentType = "content-type"
)

// CloudEvents sets, in header, the CloudEvents attributes of the event with this metadata, which must be
// complete. The record's value stays the whole envelope. There is no ce_subject without a subject.
//
// Values are UTF-8 as they are, since the Kafka binding, unlike the HTTP one, has no percent-encoding to
// undo. Two attributes need a form of their own: ce_source is a URI-reference, so the service name is
// percent-encoded in it, and ce_subject has the characters percent-encoded that no CloudEvents string
// may have (control characters, bytes that are not UTF-8).
func CloudEvents(header map[string]string, metadata *Metadata, event Event) {
	description := event.Describe()
	header[HeaderSpecVersion] = "1.0"
	header[HeaderID] = metadata.EventID
	header[HeaderSource] = Source(metadata.ServiceName)
	header[HeaderType] = description.EventType
	header[HeaderTime] = metadata.Timestamp.UTC().Truncate(time.Microsecond).Format(time.RFC3339Nano)
	header[HeaderContentType] = "application/json"
	if description.Subject != "" {
		header[HeaderSubject] = HeaderValue(description.Subject)
	}
}

// Source returns the ce_source of a service: a slash and its percent-encoded name, which is a
// URI-reference (RFC 3986) whatever the name.
func Source(service string) string { return "/" + url.PathEscape(service) }

// HeaderValue returns value as a CloudEvents string: what none may have (control characters,
// noncharacters, bytes that are not UTF-8) percent-encoded, everything else as it is.
func HeaderValue(value string) string {
	clean := utf8.ValidString(value)
	for _, c := range value {
		if disallowed(c) {
			clean = false
			break
		}
	}
	if clean {
		return value
	}
	var out strings.Builder
	for i := 0; i < len(value); {
		c, size := utf8.DecodeRuneInString(value[i:])
		if disallowed(c) || c == utf8.RuneError && size == 1 {
			for _, b := range []byte(value[i : i+size]) {
				out.Write([]byte{'%', upperHex[b>>4], upperHex[b&15]})
			}
		} else {
			out.WriteString(value[i : i+size])
		}
		i += size
	}
	return out.String()
}

const upperHex = "0123456789ABCDEF"
