// Unary calls over grpc-go, as README.md says.
package main

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"os"
	"sort"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	_ "google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

type call struct {
	path       string
	deadlineMs int
	metadata   int
	gzip       int
	message    []byte
}

type tally struct {
	sync.Mutex
	counts map[int]int
	answer string
}

// Messages stay bytes.
type unread struct{}

func (unread) Name() string                         { return "proto" }
func (unread) Marshal(v interface{}) ([]byte, error) { return *v.(*[]byte), nil }
func (unread) Unmarshal(data []byte, v interface{}) error {
	*v.(*[]byte) = append([]byte(nil), data...)
	return nil
}

func (t *tally) String() string {
	statuses := []int{}
	for status := range t.counts {
		statuses = append(statuses, status)
	}
	sort.Ints(statuses)
	words := []string{}
	for _, status := range statuses {
		words = append(words, fmt.Sprintf("%d:%d", status, t.counts[status]))
	}
	if t.answer == "" {
		t.answer = "-"
	}
	return strings.Join(append(words, t.answer), " ")
}

func ask(connection *grpc.ClientConn, one call, counted *tally) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Duration(one.deadlineMs)*time.Millisecond)
	defer cancel()
	options := []grpc.CallOption{grpc.WaitForReady(true), grpc.ForceCodec(unread{})}
	if one.gzip != 0 {
		options = append(options, grpc.UseCompressor("gzip"))
	}
	if one.metadata > 0 {
		ctx = metadata.AppendToOutgoingContext(ctx, "x-padding", strings.Repeat("p", one.metadata))
	}
	var answer []byte
	err := connection.Invoke(ctx, one.path, &one.message, &answer, options...)
	counted.Lock()
	defer counted.Unlock()
	counted.counts[int(status.Code(err))]++
	if err == nil {
		counted.answer = hex.EncodeToString(answer)
	}
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

func ofHex(text string) []byte {
	if text == "-" {
		return nil
	}
	bytes, err := hex.DecodeString(text)
	must(err)
	return bytes
}

func security(files []string) grpc.DialOption {
	if len(files) == 0 {
		return grpc.WithInsecure()
	}
	authority, err := os.ReadFile(files[0])
	must(err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(authority)
	pair, err := tls.LoadX509KeyPair(files[1], files[2])
	must(err)
	return grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{
		RootCAs: pool, Certificates: []tls.Certificate{pair}, ServerName: "localhost",
	}))
}

func main() {
	connection, err := grpc.Dial(os.Args[1], security(os.Args[2:]),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, PermitWithoutStream: true}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1, MaxDelay: 200 * time.Millisecond},
		}))
	must(err)
	lines := bufio.NewScanner(os.Stdin)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		counted := &tally{counts: map[int]int{}}
		var waiting sync.WaitGroup
		one := call{deadlineMs: 20000}
		times, seconds, text := 0, 0, ""
		if strings.HasPrefix(lines.Text(), "flood ") {
			_, err = fmt.Sscanf(lines.Text(), "flood %s %d %d %s", &one.path, &seconds, &times, &text)
		} else {
			_, err = fmt.Sscanf(lines.Text(), "%s %d %d %d %d %s", &one.path, &one.deadlineMs, &times, &one.metadata,
				&one.gzip, &text)
		}
		must(err)
		one.message = ofHex(text)
		end := time.Now().Add(time.Duration(seconds) * time.Second)
		for number := 0; number < times; number++ {
			waiting.Add(1)
			go func() {
				defer waiting.Done()
				for {
					ask(connection, one, counted)
					if !time.Now().Before(end) {
						return
					}
				}
			}()
		}
		waiting.Wait()
		fmt.Println(counted)
	}
}
