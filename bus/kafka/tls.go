package kafka

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
)

// TLS is how brokers are trusted and, with a certificate, how the client proves itself. The zero value
// trusts the system's authorities.
type TLS struct {
	// CAFile holds the PEM certificates of the authorities to trust instead of the system's.
	CAFile string
	// CertFile and KeyFile hold the client's PEM certificate and key; both or neither.
	CertFile string
	KeyFile  string
	// ServerName is expected in every broker's certificate instead of the name it was dialled by.
	ServerName string
	// Config, if set, is used instead of all of the above.
	Config *tls.Config
}

func (t TLS) faults(protocol SecurityProtocol) []error {
	if !protocol.tls() {
		if t != (TLS{}) {
			return []error{configError("TLS is set but SecurityProtocol is %s; use SSL or SASL_SSL", cmp.Or(protocol, Plaintext))}
		}
		return nil
	}
	if t.Config != nil {
		if t.CAFile != "" || t.CertFile != "" || t.KeyFile != "" || t.ServerName != "" {
			return []error{configError("TLS.Config replaces the other fields of TLS; set either it or them")}
		}
		return nil
	}
	_, errs := t.build()
	return errs
}

// build returns the TLS configuration, with every mistake found on the way.
func (t TLS) build() (*tls.Config, []error) {
	if t.Config != nil {
		return t.Config.Clone(), nil
	}
	var errs []error
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile != "" {
		pool, err := readAuthorities(t.CAFile)
		if err != nil {
			errs = append(errs, configError("TLS.CAFile: %w", err))
		}
		config.RootCAs = pool
	}
	switch {
	case (t.CertFile == "") != (t.KeyFile == ""):
		errs = append(errs, configError("TLS.CertFile and TLS.KeyFile go together; only one is set"))
	case t.CertFile != "":
		certificate, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			errs = append(errs, configError("TLS.CertFile and TLS.KeyFile: %w", err))
		}
		config.Certificates = []tls.Certificate{certificate}
	}
	return config, errs
}

func readAuthorities(path string) (*x509.CertPool, error) {
	pem, err := os.ReadFile(path) //nolint:gosec // the path is the operator's own setting
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: %w", path, errors.New("no PEM certificate in it"))
	}
	return pool, nil
}
