package auth

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/gapless-go/gapless/mockserver/internal/front"
	"github.com/gapless-go/gapless/mockserver/internal/project"
	"github.com/gapless-go/gapless/mockserver/internal/rawjson"
)

// API is the part of the Auth API (GoTrue) that a client of Realtime
// needs: sign-in, refresh, sign-out, and the making of users.
type API struct {
	verifier *Verifier
	log      *slog.Logger
	lifetime time.Duration
	users    project.Users
	routes   *http.ServeMux
}

func NewAPI(users []User, lifetime time.Duration, v *Verifier, db project.Users, log *slog.Logger) (*API, error) {
	a := &API{verifier: v, log: log, lifetime: lifetime, users: db, routes: http.NewServeMux()}
	for i, u := range users {
		checked, err := newAccount(u)
		if err == nil {
			err = a.users.CreateUser(context.Background(), *checked, u.Password)
		}
		if err != nil {
			return nil, fmt.Errorf("mockserver: Config.Users[%d]: %w", i, err)
		}
	}
	a.routes.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeAuthError(w, http.StatusNotFound, "not_found", "the mock server does not serve "+r.Method+" "+r.URL.Path)
	})
	a.routes.HandleFunc("POST /auth/v1/token", a.token)
	a.routes.HandleFunc("GET /auth/v1/user", a.user)
	a.routes.HandleFunc("POST /auth/v1/logout", a.logout)
	a.routes.HandleFunc("GET /auth/v1/health", a.health)
	a.routes.HandleFunc("POST /auth/v1/admin/users", a.admin(a.createUser))
	a.routes.HandleFunc("GET /auth/v1/admin/users/{id}", a.admin(a.oneUser))
	a.routes.HandleFunc("DELETE /auth/v1/admin/users/{id}", a.admin(a.deleteUser))
	return a, nil
}

// newAccount checks a user and fills in what it leaves out.
func newAccount(u User) (*project.User, error) {
	switch {
	case u.Email == "" && u.Phone == "":
		return nil, errors.New("it has neither Email nor Phone")
	case u.Password == "":
		return nil, errors.New("it has no Password")
	}
	id, err := uuid.Parse(cmp.Or(u.ID, uuid.NewString()))
	if err != nil {
		return nil, fmt.Errorf("ID %q is no UUID", u.ID)
	}
	provider := "email"
	if u.Email == "" {
		provider = "phone"
	}
	metadata := project.Claims{"app_metadata": project.Claims{"provider": provider, "providers": []string{provider}}, "user_metadata": project.Claims{}}
	maps.Copy(metadata, u.Claims)
	return &project.User{
		ID: id.String(), Email: strings.ToLower(u.Email), Phone: u.Phone, Role: cmp.Or(u.Role, "authenticated"), Claims: u.Claims,
		AppMetadata: rawjson.Must(metadata["app_metadata"]), UserMetadata: rawjson.Must(metadata["user_metadata"]), Created: time.Now().UTC(),
	}, nil
}

// apiError is an error of the Auth API in the words of its old and its new
// versions, of which clients read either.
type apiError struct {
	Status           int    `json:"code"`
	Code             string `json:"error_code"`
	Message          string `json:"msg"`
	Error            string `json:"error,omitempty"`
	ErrorDescription string `json:"error_description,omitempty"`
}

func writeAuthError(w http.ResponseWriter, status int, code, message string) {
	front.WriteJSON(w, status, apiError{Status: status, Code: code, Message: message})
}

// refuseGrant answers a request for a token.
func refuseGrant(w http.ResponseWriter, code, message string) {
	front.WriteJSON(w, http.StatusBadRequest, apiError{
		Status: http.StatusBadRequest, Code: code, Message: message, Error: "invalid_grant", ErrorDescription: message,
	})
}

// ServeHTTP wants the API key of the project, as the gateway does.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Access-Control-Allow-Origin", "*")
	w.Header().Set("Access-Control-Expose-Headers", "X-Total-Count, Link, X-Supabase-Api-Version")
	if r.Method == http.MethodOptions {
		front.AllowAll(w, r)
		return
	}
	if err := CheckAPIKey(a.verifier, r); err != nil {
		front.WriteJSON(w, http.StatusUnauthorized, err)
		return
	}
	r.Body = http.MaxBytesReader(w, r.Body, front.MaxBody)
	a.routes.ServeHTTP(w, r)
}

func (a *API) health(w http.ResponseWriter, _ *http.Request) {
	front.WriteJSON(w, http.StatusOK, map[string]string{
		"name": "GoTrue", "version": "mockserver", "description": "GoTrue is a user registration and authentication API",
	})
}

// tokenRequest is the body of a request for a token.
type tokenRequest struct {
	Email        string `json:"email"`
	Phone        string `json:"phone"`
	Password     string `json:"password"`
	RefreshToken string `json:"refresh_token"`
}

func (a *API) token(w http.ResponseWriter, r *http.Request) {
	var req tokenRequest
	if err := json.NewDecoder(r.Body).Decode(&req); err != nil {
		var tooLarge *http.MaxBytesError
		if errors.As(err, &tooLarge) {
			writeAuthError(w, http.StatusRequestEntityTooLarge, "request_too_large", "Payload too large")
			return
		}
		writeAuthError(w, http.StatusBadRequest, "bad_json", "Could not parse request body as JSON")
		return
	}
	switch r.URL.Query().Get("grant_type") {
	case "password":
		a.signIn(w, r, req)
	case "refresh_token":
		a.refresh(w, r, req)
	default:
		writeAuthError(w, http.StatusBadRequest, "validation_failed", "unsupported_grant_type")
	}
}

func (a *API) signIn(w http.ResponseWriter, r *http.Request, req tokenRequest) {
	u, g, err := a.users.SignIn(r.Context(), strings.ToLower(req.Email), req.Phone, req.Password)
	switch {
	case err != nil:
		a.failed(w, err)
	case u == nil:
		refuseGrant(w, "invalid_credentials", "Invalid login credentials")
	default:
		a.grant(w, u, g)
	}
}

func (a *API) refresh(w http.ResponseWriter, r *http.Request, req tokenRequest) {
	u, g, err := a.users.Refresh(r.Context(), req.RefreshToken)
	switch {
	case errors.Is(err, project.ErrTokenUsed):
		refuseGrant(w, "refresh_token_already_used", "Invalid Refresh Token: Already Used")
	case err != nil:
		a.failed(w, err)
	case u == nil:
		refuseGrant(w, "refresh_token_not_found", "Invalid Refresh Token: Refresh Token Not Found")
	default:
		a.grant(w, u, g)
	}
}

// failed answers where the users cannot be asked for, or with a value that the
// database does not take, such as a text with a NUL.
func (a *API) failed(w http.ResponseWriter, err error) {
	var refused *project.Error
	if errors.As(err, &refused) && strings.HasPrefix(refused.Code, "22") {
		writeAuthError(w, http.StatusBadRequest, "validation_failed", refused.Message)
		return
	}
	a.log.Warn("users cannot be read or written", "error", err)
	writeAuthError(w, http.StatusInternalServerError, "unexpected_failure", "Database error querying schema")
}

// grant answers with a session: an access token and a refresh token.
func (a *API) grant(w http.ResponseWriter, u *project.User, g project.Session) {
	now := time.Now()
	expires := now.Add(a.lifetime)
	claims := project.Claims{"app_metadata": json.RawMessage(u.AppMetadata), "user_metadata": json.RawMessage(u.UserMetadata), "is_anonymous": false, "aal": "aal1"}
	maps.Copy(claims, u.Claims)
	maps.Copy(claims, project.Claims{
		"sub": u.ID, "role": u.Role, "aud": "authenticated", "email": u.Email, "phone": u.Phone,
		"iat": now.Unix(), "exp": expires.Unix(), "session_id": g.ID,
		"jti": uuid.NewString(), // two tokens of one second differ
	})
	front.WriteJSON(w, http.StatusOK, map[string]any{
		"access_token":  Sign(a.verifier.Secret, claims),
		"token_type":    "bearer",
		"expires_in":    int(a.lifetime / time.Second),
		"expires_at":    expires.Unix(),
		"refresh_token": g.RefreshToken,
		"user":          userJSON(u, now),
	})
}

func userJSON(u *project.User, signedIn time.Time) map[string]any {
	return map[string]any{
		"id": u.ID, "aud": "authenticated", "role": u.Role, "email": u.Email, "phone": u.Phone,
		"app_metadata": json.RawMessage(u.AppMetadata), "user_metadata": json.RawMessage(u.UserMetadata), "identities": []any{},
		"email_confirmed_at": u.Created, "confirmed_at": u.Created, "last_sign_in_at": signedIn.UTC(),
		"created_at": u.Created, "updated_at": signedIn.UTC(), "is_anonymous": false,
	}
}

// bearer returns the user of the request's token and the session; it answers
// the request where there is none.
func (a *API) bearer(w http.ResponseWriter, r *http.Request) (u *project.User, session string) {
	token, given := BearerToken(r)
	if !given {
		writeAuthError(w, http.StatusUnauthorized, "no_authorization", "This endpoint requires a Bearer token")
		return nil, ""
	}
	claims, _, err := a.verifier.Verify(token)
	if err != nil {
		writeAuthError(w, http.StatusForbidden, "bad_jwt", "invalid JWT: "+err.Error())
		return nil, ""
	}
	subject, _ := claims["sub"].(string)
	session, _ = claims["session_id"].(string)
	switch u, err = a.users.User(r.Context(), subject); {
	case err != nil:
		a.failed(w, err)
		return nil, ""
	case u == nil:
		writeAuthError(w, http.StatusForbidden, "user_not_found", "User from sub claim in JWT does not exist")
	}
	return u, session
}

func (a *API) user(w http.ResponseWriter, r *http.Request) {
	u, session := a.bearer(w, r)
	if u == nil {
		return
	}
	open := true
	var err error
	if session != "" {
		open, err = a.users.HasSession(r.Context(), session)
	}
	switch {
	case err != nil:
		a.failed(w, err)
	case !open:
		writeAuthError(w, http.StatusForbidden, "session_not_found", "Session from session_id claim in JWT does not exist")
	default:
		front.WriteJSON(w, http.StatusOK, userJSON(u, time.Now()))
	}
}

// logout ends the sessions of the user, or the one of the token, or all but
// that. Access tokens stay good until they expire.
func (a *API) logout(w http.ResponseWriter, r *http.Request) {
	u, session := a.bearer(w, r)
	if u == nil {
		return
	}
	if err := a.users.EndSessions(r.Context(), u.ID, session, r.URL.Query().Get("scope")); err != nil {
		a.failed(w, err)
		return
	}
	w.WriteHeader(http.StatusNoContent)
}
