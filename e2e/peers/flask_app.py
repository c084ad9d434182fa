"""A small Flask application of the kind that people have: users, behind a proxy."""

from flask import Flask, Response, abort, jsonify, make_response, redirect, request, url_for
from werkzeug.middleware.proxy_fix import ProxyFix

app = Flask(__name__)
# What Flask's own documentation says to do behind one proxy.
app.wsgi_app = ProxyFix(app.wsgi_app, x_for=1, x_proto=1, x_host=1)

USERS = {1: "ada", 2: "grace"}


@app.get("/user/<int:number>")
def user(number):
    if number not in USERS:
        abort(404)
    return jsonify(id=number, name=USERS[number], fields=request.args.getlist("field"))


@app.post("/user/")
def create():
    given = request.get_json()
    answer = make_response(jsonify(name=given["name"]), 201)
    answer.headers["Location"] = url_for("user", number=3, _external=True)
    return answer


@app.post("/user/upload")
def upload():
    size = 0
    while piece := request.stream.read(65536):
        size += len(piece)
    return jsonify(bytes=size, encoding=request.headers.get("Transfer-Encoding"))


@app.get("/user/large")
def large():
    def pieces():
        for number in range(256):
            yield bytes([number]) * 16384

    return Response(pieces(), mimetype="application/octet-stream")


@app.get("/user/login")
def login():
    answer = redirect(url_for("user", number=1))
    answer.set_cookie("session", "s3cret", httponly=True)
    answer.set_cookie("theme", "dark")
    return answer


@app.get("/user/cookies")
def cookies():
    return jsonify(dict(request.cookies))


@app.get("/user/seen")
def seen():
    return jsonify(
        client=request.remote_addr,
        scheme=request.scheme,
        host=request.host,
        url=request.url,
        headers=dict(request.headers),
    )
