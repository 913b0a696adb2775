module github.com/gapless-go/gapless/bench

go 1.25.0

require (
	github.com/coder/websocket v1.8.15
	github.com/gapless-go/gapless v0.0.0
	github.com/gobwas/ws v1.4.0
	github.com/goccy/go-json v0.12.0
	github.com/stretchr/testify v1.12.1
)

require (
	github.com/gobwas/httphead v0.1.0 // indirect
	github.com/gobwas/pool v0.2.1 // indirect
	github.com/golang-jwt/jwt/v5 v5.3.1 // indirect
	go.yaml.in/yaml/v3 v3.0.5 // indirect
	golang.org/x/sys v0.6.0 // indirect
)

replace github.com/gapless-go/gapless => ..
