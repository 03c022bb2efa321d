"As nbdev 2.4.14 has it, with one extra for each `NAME_requirements` of settings.ini; change settings.ini, not this file."

import shlex
from configparser import ConfigParser
from pathlib import Path

import setuptools

config = ConfigParser(delimiters=["="], interpolation=None)
config.read("settings.ini", encoding="utf-8")
cfg = config["DEFAULT"]

licenses = {"apache2": ("Apache-2.0", "OSI Approved :: Apache Software License")}
statuses = [
    "0 - Pre-Planning", "1 - Planning", "2 - Pre-Alpha", "3 - Alpha",
    "4 - Beta", "5 - Production/Stable", "6 - Mature", "7 - Inactive",
]  # fmt: skip
py_versions = ["3.11", "3.12", "3.13"]


def requirements(name):
    return shlex.split(cfg[name])


extras = {key.removesuffix("_requirements"): requirements(key) for key in cfg if key.endswith("_requirements")}
extras["all"] = [requirement for extra in extras.values() for requirement in extra]

setuptools.setup(
    name=cfg["lib_name"],
    version=cfg["version"],
    description=cfg["description"],
    keywords=cfg["keywords"],
    author=cfg["author"],
    author_email=cfg["author_email"],
    license=licenses[cfg["license"]][0],
    classifiers=[
        "Development Status :: " + statuses[int(cfg["status"])],
        "Intended Audience :: " + cfg["audience"].title(),
        "Natural Language :: " + cfg["language"].title(),
        "License :: " + licenses[cfg["license"]][1],
        *("Programming Language :: Python :: " + version for version in py_versions),
    ],
    url=cfg["git_url"],
    packages=setuptools.find_packages(include=["cnncourse", "cnncourse.*"]),
    package_data={"cnncourse": ["*.toml", "static/*", "weights/*", "data/*"]},
    install_requires=requirements("requirements"),
    extras_require=extras,
    python_requires=">=" + cfg["min_python"],
    long_description=Path("README.md").read_text(encoding="utf-8"),
    long_description_content_type="text/markdown",
    zip_safe=False,
    entry_points={
        "console_scripts": cfg["console_scripts"].split(),
        "nbdev": [f"{cfg['lib_path']}={cfg['lib_path']}._modidx:d"],
    },
    project_urls={"Documentation": cfg["doc_host"] + cfg["doc_baseurl"]},
)
