"""Answers that pydantic's models, dataclasses and TypedDicts describe."""

import dataclasses
from typing import Any, TypedDict

from oarlock import App, JSONResponse, PlainTextResponse, Response
from pydantic import AnyUrl, BaseModel, ConfigDict, Field, HttpUrl, Secret, SecretBytes, SecretStr

app = App()


class Item(BaseModel):
    model_config = ConfigDict(populate_by_name=True)

    item_id: int = Field(alias="itemId")
    inner: "Item | None" = None
    password: SecretStr = SecretStr("hidden")


class Public(BaseModel):
    name: str
    number: float = 1.5


class Private(Public):
    password: str = "hidden"


@dataclasses.dataclass
class Point:
    x: int


@dataclasses.dataclass
class Secret3D(Point):
    z: int = 3


class Named(TypedDict):
    name: str


class Row:
    """An ORM's object."""

    def __init__(self):
        self.name = "row"
        self.password = "hidden"


@app.get("/alias")
async def alias():
    return {"one": Item(item_id=1, inner=Item(item_id=2)), "many": [Item(item_id=3)]}


@app.get("/types")
async def types():
    return {
        "secrets": [SecretStr("hidden"), SecretBytes(b"hidden"), Secret[int](7)],
        "urls": [AnyUrl("http://a/b"), HttpUrl("https://c")],
        "nan": Public(name="a", number=float("nan")),
    }


@app.get("/filtered/model")
async def filtered_model() -> Public:
    return Private(name="a")


@app.get("/filtered/dict")
def filtered_dict() -> Public | None:
    return {"name": "a", "password": "hidden"}


@app.get("/filtered/object", blocking=False)
def filtered_object() -> Public:
    return Row()


@app.get("/filtered/many")
async def filtered_many() -> dict[str, list[Public]]:
    return {"all": [Private(name="a"), Row()]}


@app.get("/filtered/dataclass")
async def filtered_dataclass() -> Point:
    return Secret3D(1)


@app.get("/filtered/typed-dict")
async def filtered_typed_dict() -> Named:
    return {"name": "a", "password": "hidden"}


@app.get("/filtered/asked", response_model=Public)
async def filtered_asked() -> Any:
    return Private(name="a")


@app.get("/filtered/alias", status_code=201)
async def filtered_alias() -> Item:
    return {"item_id": 1}


@app.get("/filtered/text", response_class=PlainTextResponse, response_model=int)
async def filtered_text():
    return "1"


@app.get("/whole", response_model=None)
async def whole() -> Public:
    return Private(name="a")


@app.get("/response/{own}")
async def response(own: bool) -> Public | JSONResponse:
    return JSONResponse({"own": True}) if own else Private(name="a")


@app.get("/plain")
async def plain() -> dict[str, Any]:
    return {"a": 1}


@app.get("/only-response")
async def only_response() -> Response:
    return PlainTextResponse("x")


@app.get("/wrong")
async def wrong() -> Public:
    return {"number": "x"}
