package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"regexp"
	"slices"
	"strconv"
)

// referrers is the path of the referrers API (distribution-spec, "Listing Referrers").
var referrers = regexp.MustCompile(`^/v2/.+/referrers/[^/]+$`)

// paged answers lists of referrers with so many on a page, and where the next one is in a Link header, as the
// specification allows; no library at hand does that.
func paged(size int, handler http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if size <= 0 || r.Method != http.MethodGet || !referrers.MatchString(r.URL.Path) {
			handler.ServeHTTP(w, r)
			return
		}
		recorded := httptest.NewRecorder()
		handler.ServeHTTP(recorded, r)
		var index map[string]json.RawMessage
		var manifests []json.RawMessage
		if recorded.Code == http.StatusOK {
			if err := json.Unmarshal(recorded.Body.Bytes(), &index); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			if err := json.Unmarshal(index["manifests"], &manifests); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		for name, values := range recorded.Header() {
			w.Header()[name] = values
		}
		w.Header().Del("Content-Length")
		// The order is another one each time.
		slices.SortFunc(manifests, func(a, b json.RawMessage) int { return bytes.Compare(a, b) })
		query := r.URL.Query()
		from, _ := strconv.Atoi(query.Get("from"))
		from = min(max(from, 0), len(manifests))
		body := recorded.Body.Bytes()
		if len(manifests) > size {
			to := min(from+size, len(manifests))
			if to < len(manifests) {
				query.Set("from", strconv.Itoa(to))
				w.Header().Set("Link", fmt.Sprintf("<%s?%s>; rel=\"next\"", r.URL.Path, query.Encode()))
			}
			page, err := json.Marshal(manifests[from:to])
			if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
			index["manifests"] = page
			if body, err = json.Marshal(index); err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
				return
			}
		}
		w.WriteHeader(recorded.Code)
		_, _ = w.Write(body)
	})
}
