package kafka_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/tailrace-go/tailrace/bus/delivery"
	"github.com/tailrace-go/tailrace/bus/kafka"
)

// pki is an authority and the files of a broker and a client it vouches for.
type pki struct {
	ca, cert, key string // files
	server        *tls.Config
}

func newPKI(t *testing.T) pki {
	t.Helper()
	dir := t.TempDir()
	write := func(name, kind string, der []byte) string {
		path := filepath.Join(dir, name)
		require.NoError(t, os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
		return path
	}
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "ca"}, NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, caKey.Public(), caKey)
	require.NoError(t, err)
	issue := func(leaf *x509.Certificate) ([]byte, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		leaf.NotAfter = time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, leaf, ca, key.Public(), caKey)
		require.NoError(t, err)
		return der, key
	}
	serverDER, serverKey := issue(&x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{"kafka.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
	})
	clientDER, clientKey := issue(&x509.Certificate{
		SerialNumber: big.NewInt(3), Subject: pkix.Name{CommonName: "app"}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	keyDER, err := x509.MarshalPKCS8PrivateKey(clientKey)
	require.NoError(t, err)
	roots := x509.NewCertPool()
	require.True(t, roots.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: caDER})))
	return pki{
		ca:   write("ca.pem", "CERTIFICATE", caDER),
		cert: write("cert.pem", "CERTIFICATE", clientDER),
		key:  write("key.pem", "PRIVATE KEY", keyDER),
		server: &tls.Config{
			MinVersion:   tls.VersionTLS12,
			Certificates: []tls.Certificate{{Certificate: [][]byte{serverDER}, PrivateKey: serverKey}},
			ClientAuth:   tls.VerifyClientCertIfGiven, ClientCAs: roots,
		},
	}
}

func TestSecurity(t *testing.T) {
	t.Parallel()
	files := newPKI(t)
	mutual := files.server.Clone()
	mutual.ClientAuth = tls.RequireAndVerifyClientCert
	login := func(mechanism kafka.Mechanism) kafka.SASL {
		return kafka.SASL{Mechanism: mechanism, Username: "app", Password: "correct horse"}
	}
	user := func(mechanism string) []kfake.Opt {
		return []kfake.Opt{kfake.EnableSASL(), kfake.Superuser(mechanism, "app", "correct horse")}
	}
	wrong := login(kafka.ScramSHA256)
	wrong.Password = "wrong horse"
	for _, test := range []struct {
		name    string
		cluster []kfake.Opt
		config  kafka.Config
		refused string // what Unreachable says; empty: it works
	}{
		{"PLAIN", user("PLAIN"), kafka.Config{SecurityProtocol: kafka.SASLPlaintext, SASL: login("")}, ""},
		{"SCRAM-SHA-256", user("SCRAM-SHA-256"), kafka.Config{SecurityProtocol: kafka.SASLPlaintext, SASL: login(kafka.ScramSHA256)}, ""},
		{"SCRAM-SHA-512", user("SCRAM-SHA-512"), kafka.Config{SecurityProtocol: kafka.SASLPlaintext, SASL: login(kafka.ScramSHA512)}, ""},
		{"TLS", []kfake.Opt{kfake.TLS(files.server)}, kafka.Config{SecurityProtocol: kafka.SSL, TLS: kafka.TLS{CAFile: files.ca}}, ""},
		{
			"TLS, another name",
			[]kfake.Opt{kfake.TLS(files.server)},
			kafka.Config{SecurityProtocol: kafka.SSL, TLS: kafka.TLS{CAFile: files.ca, ServerName: "kafka.test"}},
			"",
		},
		{
			"mutual TLS",
			[]kfake.Opt{kfake.TLS(mutual)},
			kafka.Config{SecurityProtocol: kafka.SSL, TLS: kafka.TLS{CAFile: files.ca, CertFile: files.cert, KeyFile: files.key}},
			"",
		},
		{
			"TLS by configuration",
			[]kfake.Opt{kfake.TLS(files.server)},
			kafka.Config{SecurityProtocol: kafka.SSL, TLS: kafka.TLS{Config: &tls.Config{RootCAs: files.server.ClientCAs, MinVersion: tls.VersionTLS13}}},
			"",
		},
		{
			"SCRAM over TLS", append(user("SCRAM-SHA-512"), kfake.TLS(files.server)),
			kafka.Config{SecurityProtocol: kafka.SASLSSL, SASL: login(kafka.ScramSHA512), TLS: kafka.TLS{CAFile: files.ca}},
			"",
		},
		{"wrong password", user("SCRAM-SHA-256"), kafka.Config{SecurityProtocol: kafka.SASLPlaintext, SASL: wrong}, "SASL"},
		{
			"wrong name",
			[]kfake.Opt{kfake.TLS(files.server)},
			kafka.Config{SecurityProtocol: kafka.SSL, TLS: kafka.TLS{CAFile: files.ca, ServerName: "elsewhere"}},
			"elsewhere",
		},
		{"unknown authority", []kfake.Opt{kfake.TLS(files.server)}, kafka.Config{SecurityProtocol: kafka.SSL}, "certificate"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			cluster, err := kfake.NewCluster(append(test.cluster, kfake.NumBrokers(1), kfake.SeedTopics(2, "orders"))...)
			require.NoError(t, err)
			t.Cleanup(cluster.Close)
			test.config.Brokers = cluster.ListenAddrs()
			sink := newSink(t)
			stream := newSender(t, nil, func(c *kafka.SenderConfig) {
				c.Config = test.config
				c.Config.RequestTimeout = 2 * time.Second
			}).Stream(sink.config())
			stream.Send(keyed("orders", 0, 100, 10))
			if test.refused == "" {
				sink.wait(100)
				require.Equal(t, map[delivery.Fault]int{delivery.Delivered: 100}, sink.faults())
				return
			}
			require.Eventually(t, sink.troubled, soon, time.Millisecond)
			notice := sink.notices()[0]
			require.ErrorContains(t, notice, test.refused)
			require.NotContains(t, notice.Error(), "horse")
			require.Zero(t, sink.reported(), "a closed door is no record's fault")
		})
	}
}
