// The reviews service in Go, one file: `go run reviews.go`. The same answers as its Python twin.
package main

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"
)

type review struct {
	Item  string `json:"item"`
	Stars int    `json:"stars"`
	By    string `json:"by"`
}

func main() {
	version := os.Getenv("VERSION")
	if version == "" {
		version = "v2"
	}
	server := &http.Server{Addr: os.Getenv("HOST") + ":" + os.Getenv("PORT")}
	server.Handler = http.HandlerFunc(func(response http.ResponseWriter, request *http.Request) {
		response.Header().Set("content-type", "application/json")
		var value any = "ok"
		if request.URL.Path != "/healthz" {
			value = map[string]any{"version": version, "reviews": []review{{"anchor", 5, "go"}}}
		}
		json.NewEncoder(response).Encode(value)
	})
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	done := make(chan struct{})
	go func() {
		<-ended
		limit, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		server.Shutdown(limit)
		close(done)
	}()
	if err := server.ListenAndServe(); err != http.ErrServerClosed {
		panic(err)
	}
	<-done
}
