// The quick JSON answer from Go's net/http, on one core, for `make bench-peers`.
package main

import (
	"encoding/json"
	"log"
	"net/http"
	"os"
	"runtime"
)

type answer struct {
	ID      int      `json:"id"`
	Name    string   `json:"name"`
	Tags    []string `json:"tags"`
	Price   float64  `json:"price"`
	InStock bool     `json:"in_stock"`
}

func main() {
	runtime.GOMAXPROCS(1)
	http.HandleFunc("/json", func(w http.ResponseWriter, _ *http.Request) {
		body, err := json.Marshal(answer{7, "oarlock", []string{"fast", "small"}, 9.75, true})
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write(body)
	})
	log.Fatal(http.ListenAndServe("127.0.0.1:"+os.Args[1], nil))
}
