package apache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"text/template"
)

// DefaultVersion is the Apache Kafka that runs unless TAILRACE_KAFKA_VERSION names another.
const DefaultVersion = "4.4.0"

// pom asks Maven for the broker and everything it needs, and for a logger that writes to standard error.
var pom = template.Must(template.New("pom").Parse(`<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>tailrace</groupId><artifactId>kafka-runtime</artifactId><version>1</version><packaging>pom</packaging>
{{- with .Repository}}
  <repositories><repository><id>central</id><url>{{.}}</url></repository></repositories>
  <pluginRepositories><pluginRepository><id>central</id><url>{{.}}</url></pluginRepository></pluginRepositories>
{{- end}}
  <dependencies>
    <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{{.Version}}</version></dependency>
    <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>1.7.36</version></dependency>
  </dependencies>
</project>
`))

// libs returns the directory of the broker's jars: TAILRACE_KAFKA_LIBS, else the account's cache, which
// Maven fills once a version.
func libs(ctx context.Context) (string, error) {
	if dir := os.Getenv("TAILRACE_KAFKA_LIBS"); dir != "" {
		return dir, nil
	}
	version := DefaultVersion
	if chosen := os.Getenv("TAILRACE_KAFKA_VERSION"); chosen != "" {
		version = chosen
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", err
	}
	dir := filepath.Join(cache, "tailrace", "kafka", version)
	if _, err := os.Stat(dir); err == nil {
		return dir, nil
	}
	maven, err := exec.LookPath("mvn")
	if err != nil {
		return "", errors.New("fetching Kafka needs Maven: install it, or set TAILRACE_KAFKA_LIBS to the libs directory of a Kafka distribution")
	}
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return "", err
	}
	work, err := os.MkdirTemp(filepath.Dir(dir), "partial-*")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	var project bytes.Buffer
	if err := pom.Execute(&project, map[string]string{
		"Version": version, "Repository": os.Getenv("TAILRACE_MAVEN_REPO"),
	}); err != nil {
		return "", err
	}
	if err := os.WriteFile(filepath.Join(work, "pom.xml"), project.Bytes(), 0o600); err != nil {
		return "", err
	}
	partial := filepath.Join(work, "libs")
	cmd := exec.CommandContext(ctx, maven, "-B", "-q", "dependency:copy-dependencies",
		"-DincludeScope=runtime", "-DoutputDirectory="+partial)
	cmd.Dir = work
	if output, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("fetch Kafka %s with Maven: %w: %s", version, err, bytes.TrimSpace(output))
	}
	// Another process may have been quicker; its copy is as good.
	if err := os.Rename(partial, dir); err != nil {
		if _, statErr := os.Stat(dir); statErr != nil {
			return "", err
		}
	}
	return dir, nil
}

// findJava returns the java of JAVA_HOME, else of PATH.
func findJava() (string, error) {
	if home := os.Getenv("JAVA_HOME"); home != "" {
		return filepath.Join(home, "bin", "java"), nil
	}
	path, err := exec.LookPath("java")
	if err != nil {
		return "", errors.New("apache Kafka needs Java 17 or newer: install it or set JAVA_HOME")
	}
	return path, nil
}
