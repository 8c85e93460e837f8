package main

import (
	"io"
	"log"
	"net"
	"net/http"
	"time"
)

// logged writes one line for each request that was answered, in Apache's combined format, as distribution does.
func logged(out io.Writer, handler http.Handler) http.Handler {
	lines := log.New(out, "", 0)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		answer := &answer{ResponseWriter: w, status: http.StatusOK}
		handler.ServeHTTP(answer, r)
		host, _, err := net.SplitHostPort(r.RemoteAddr)
		if err != nil {
			host = r.RemoteAddr
		}
		lines.Printf("%s - - [%s] %q %d %d %q %q", host, start.Format("02/Jan/2006:15:04:05 -0700"),
			r.Method+" "+r.RequestURI+" "+r.Proto, answer.status, answer.size, r.Referer(), r.UserAgent())
	})
}

// answer remembers what was answered.
type answer struct {
	http.ResponseWriter
	status int
	size   int64
}

func (a *answer) WriteHeader(status int) {
	a.status = status
	a.ResponseWriter.WriteHeader(status)
}

func (a *answer) Write(data []byte) (int, error) {
	written, err := a.ResponseWriter.Write(data)
	a.size += int64(written)
	return written, err
}
