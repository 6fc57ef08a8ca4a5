package orders

import (
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
)

// Handler returns the service's HTTP API: PUT and GET /orders/{id}.
func (s *Service) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("PUT /orders/{id}", s.put)
	mux.HandleFunc("GET /orders/{id}", s.get)
	return mux
}

func (s *Service) put(w http.ResponseWriter, r *http.Request) {
	var in NewOrder
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 1<<16)).Decode(&in); err != nil {
		http.Error(w, "the body is not an order in JSON", http.StatusBadRequest)
		return
	}
	in.ID = r.PathValue("id")
	order, err := s.Place(r.Context(), in)
	answer(w, http.StatusCreated, order, err)
}

func (s *Service) get(w http.ResponseWriter, r *http.Request) {
	order, err := s.Find(r.Context(), r.PathValue("id"))
	answer(w, http.StatusOK, order, err)
}

func answer(w http.ResponseWriter, status int, order Order, err error) {
	switch {
	case errors.Is(err, ErrInvalid):
		http.Error(w, err.Error(), http.StatusBadRequest)
	case errors.Is(err, ErrOutOfStock), errors.Is(err, ErrExists):
		http.Error(w, err.Error(), http.StatusConflict)
	case errors.Is(err, ErrUnknown):
		http.Error(w, err.Error(), http.StatusNotFound)
	case err != nil:
		http.Error(w, "something went wrong", http.StatusInternalServerError)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		if err := json.NewEncoder(w).Encode(order); err != nil {
			slog.Debug("the client has gone", "error", err)
		}
	}
}
